/** Rooms whose browsers differ: publishers change over to a codec that everybody has, and back when they can. */
import assert from "node:assert/strict";
import puppeteer from "puppeteer-core";
import { CHROMIUM, FIREFOX, LAUNCH, until } from "./helper.js";
import { suite } from "./suite.js";

const the = suite("codecs", { args: ["--set", "codecs.prefer=av1", "--set", "codecs.return_seconds=2"] });
const CAMERA = { params: { publish: "camera", size: "320x180" } };

const codecOf = async (person, name) => (await person.receives(name, "camera"))?.codec?.toLowerCase();
const comes = (person, name, codec) => until(`${person.name} gets ${name} in ${codec}`, async () => (await codecOf(person, name)) === codec);

/** What the browser says that it encodes with. */
const encodesWith = (person) =>
  person.room(async (room) => {
    const report = await room.local("camera").sender.getStats();
    const codecs = [...report.values()].filter(({ type, active }) => type === "outbound-rtp" && active !== false).map(({ codecId }) => report.get(codecId)?.mimeType);
    return [...new Set(codecs)].join().toLowerCase();
  });

/** A Firefox as there were many: without AV1. */
async function firefoxWithoutAv1() {
  const launch = LAUNCH[FIREFOX];
  return puppeteer.launch({ ...launch, extraPrefsFirefox: { ...launch.extraPrefsFirefox, "media.webrtc.codec.video.av1.enabled": false } });
}

the.meeting("a Firefox without AV1 joins a call in AV1: all see each other in another codec, and in AV1 again when it has left", async () => {
  const [ada, grace] = [await the.join(CHROMIUM, "Ada", CAMERA), await the.join(CHROMIUM, "Grace", CAMERA)];
  await Promise.all([comes(grace, "Ada", "video/av1"), comes(ada, "Grace", "video/av1")]);
  await Promise.all([grace.sees("Ada"), ada.sees("Grace")]);

  const within = the.leave(await firefoxWithoutAv1());
  const alan = await the.join(FIREFOX, "Alan", { ...CAMERA, within });
  const decodes = await alan.page.evaluate(() => RTCRtpReceiver.getCapabilities("video").codecs.map(({ mimeType }) => mimeType.toLowerCase()));
  assert.ok(!decodes.includes("video/av1"), "it lacks AV1");
  await Promise.all([alan.sees("Ada"), alan.sees("Grace"), ada.sees("Alan")]);
  for (const [person, name] of [[grace, "Ada"], [ada, "Grace"], [alan, "Ada"], [alan, "Grace"]]) {
    await comes(person, name, "video/vp8");
    await person.sees(name);
  }
  assert.equal(await encodesWith(ada), "video/vp8");

  await the.close(alan);
  await Promise.all([comes(grace, "Ada", "video/av1"), comes(ada, "Grace", "video/av1")]);
  await Promise.all([grace.sees("Ada"), ada.sees("Grace")]);
  assert.equal(await encodesWith(ada), "video/av1");
});

the.meeting("a Firefox publishes in AV1, changes over for one without, and back", async () => {
  const ada = await the.join(FIREFOX, "Ada", CAMERA);
  const grace = await the.join(CHROMIUM, "Grace", { params: { publish: "none" } });
  await comes(grace, "Ada", "video/av1");
  await grace.sees("Ada");
  const alan = await the.join(FIREFOX, "Alan", { params: { publish: "none" }, within: the.leave(await firefoxWithoutAv1()) });
  await Promise.all([comes(alan, "Ada", "video/vp8"), comes(grace, "Ada", "video/vp8")]);
  await Promise.all([alan.sees("Ada"), grace.sees("Ada")]);
  await the.close(alan);
  await comes(grace, "Ada", "video/av1");
  await grace.sees("Ada");
});

/** What the SDK and the page promise to who builds on them: size, types, package, example. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";
import { CHROMIUM, closeBrowsers, FIREFOX, openPage, Server, until } from "./helper.js";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const KIB = 1024;

after(closeBrowsers);

test("the SDK's entry is under 25 KiB minified, without what is loaded when it is used", async () => {
  const { outputFiles } = await esbuild.build({
    entryPoints: [join(ROOT, "sdk/index.js")], bundle: true, minify: true, splitting: true, format: "esm", outdir: "out", write: false,
  });
  const entry = outputFiles.find(({ path }) => path.endsWith("index.js"));
  const static_ = outputFiles.filter(({ path }) => path === entry.path || entry.text.includes(`from"./${path.split("/").at(-1)}"`));
  const bytes = static_.reduce((sum, { contents }) => sum + contents.length, 0);
  assert.ok(bytes < 25 * KIB, `${bytes} bytes`);
});

test("page and SDK stay under 5000 lines of code", async () => {
  let lines = 0;
  for (const folder of ["sdk", "page"]) {
    for (const name of await readdir(join(ROOT, folder))) {
      if (!/\.(js|css)$/.test(name)) continue;
      const text = await readFile(join(ROOT, folder, name), "utf8");
      lines += text.split("\n").filter((line) => line.trim() && !/^\s*(\*|\/\*|\/\/)/.test(line)).length;
    }
  }
  assert.ok(lines < 5000, `${lines} lines`);
});

test("the package has the types, and they hold programs to what the SDK takes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-sdk-"));
  try {
    execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: join(ROOT, "sdk"), stdio: ["ignore", "ignore", "inherit"] });
    const [packed] = await readdir(folder);
    execFileSync("tar", ["xzf", packed], { cwd: folder });
    const check = async (source) => {
      await writeFile(join(folder, "program.mts"), source);
      await writeFile(join(folder, "tsconfig.json"), JSON.stringify({
        compilerOptions: { strict: true, noEmit: true, module: "esnext", moduleResolution: "bundler", target: "es2022", lib: ["es2022", "dom", "dom.iterable"], types: [], paths: { "sluice-sdk": ["./package/types/index.d.ts"] } },
        files: ["program.mts"],
      }));
      execFileSync(join(ROOT, "node_modules/.bin/tsc"), ["-p", folder], { stdio: "pipe" });
    };
    const program = (name) => `import { Room } from "sluice-sdk";
      const room = await Room.connect("https://example.org", { room: "daily", name: ${name} });
      room.on("track-published", (track) => { if (track.kind === "video") track.attach(document.createElement("video")); });
      await room.enable("camera");`;
    await check(program(`"Ada"`));
    await assert.rejects(() => check(program("7")), /Command failed/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

describe("the example", () => {
  test("is under 40 lines", async () => {
    assert.ok((await readFile(join(ROOT, "page/example.js"), "utf8")).split("\n").length < 40);
  });

  test("is a call", async () => {
    const server = await Server.start();
    try {
      const url = (name) => `${server.url}example.html?room=example&name=${name}`;
      const [ada, grace] = await Promise.all([openPage(CHROMIUM, url("Ada")), openPage(FIREFOX, url("Grace"))]);
      for (const [page, other] of [[ada, "Grace"], [grace, "Ada"]]) {
        await until(`${other} is seen`, () => page.$eval(`video[title=${other}]`, (video) => video.videoWidth > 0 && video.currentTime > 0));
      }
      await (await ada.$("#leave")).click();
      await until("it is over", async () => (await ada.$eval("#said", ({ textContent }) => textContent)) === "You left the room.");
    } finally {
      await closeBrowsers();
      await server.stop();
    }
  });
});

//! The meeting page and the JavaScript SDK, embedded in the binary: the page at `/`, the SDK at `/sdk/`. Called by the
//! HTTP server of `sfu`, which adds the headers. Debug builds read the files from disk on every call, so that working
//! on the page needs a reload only.

use std::borrow::Cow;

use rust_embed::Embed;

/// The policy that page and SDK work under: nothing inline, nothing from elsewhere.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
     media-src 'self' blob: mediastream:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

#[derive(Embed)]
#[folder = "page/"]
struct Page;

#[derive(Embed)]
#[folder = "sdk/"]
struct Sdk;

/// A file to serve.
pub struct Asset {
    pub bytes: Cow<'static, [u8]>,
    /// Value of `Content-Type`.
    pub mime: &'static str,
    /// Value of `ETag`, with its quotes: changes when the content does.
    pub etag: String,
}

/// The file for the path of a URL: `/` and `/r/ROOM` are the page itself.
///
/// `None` where there is no such file (404).
pub fn asset(path: &str) -> Option<Asset> {
    let name = path.strip_prefix('/')?;
    let is_room = name.strip_prefix("r/").is_some_and(|room| !room.trim_end_matches('/').contains('/'));
    let name = if name.is_empty() || is_room { "index.html" } else { name };
    let file = match name.strip_prefix("sdk/") {
        Some(name) => Sdk::get(name),
        None => Page::get(name),
    }?;
    let hash = file.metadata.sha256_hash();
    let etag = format!("\"{}\"", hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>());
    Some(Asset { bytes: file.data, mime: mime(name), etag })
}

fn mime(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> String {
        let asset = asset(path).unwrap_or_else(|| panic!("{path} is missing"));
        String::from_utf8(asset.bytes.into_owned()).expect("UTF-8")
    }

    #[test]
    fn the_root_and_every_room_are_the_page() {
        let page = text("/");
        assert!(page.starts_with("<!doctype html>"));
        assert_eq!(page, text("/r/blue-otter"));
        assert_eq!(page, text("/r/blue-otter/"));
        assert_eq!(asset("/").expect("page").mime, "text/html; charset=utf-8");
    }

    #[test]
    fn scripts_styles_and_the_sdk_have_the_types_that_browsers_insist_on() {
        assert_eq!(asset("/main.js").expect("script").mime, "text/javascript; charset=utf-8");
        assert_eq!(asset("/style.css").expect("style").mime, "text/css; charset=utf-8");
        assert_eq!(asset("/sdk/index.js").expect("sdk").mime, "text/javascript; charset=utf-8");
        assert_eq!(asset("/icons.svg").expect("icons").mime, "image/svg+xml");
    }

    #[test]
    fn what_is_not_there_is_none() {
        for path in [
            "",
            "main.js",
            "/nothing",
            "/sdk",
            "/sdk/",
            "/sdk/nothing.js",
            "/r/a/b",
            "/../Cargo.toml",
            "/sdk/../../Cargo.toml",
            "/page/index.html",
        ] {
            assert!(asset(path).is_none(), "{path:?} is served");
        }
    }

    #[test]
    fn etags_are_quoted_stable_and_differ_between_files() {
        let etag = |path| asset(path).expect(path).etag;
        assert_eq!(etag("/main.js"), etag("/main.js"));
        assert_ne!(etag("/main.js"), etag("/style.css"));
        assert!(etag("/").starts_with('"') && etag("/").ends_with('"'));
    }

    #[test]
    fn everything_that_files_refer_to_exists_and_nothing_is_inline() {
        let mut wanted = vec!["/".to_owned()];
        let mut seen = Vec::new();
        while let Some(path) = wanted.pop() {
            if seen.contains(&path) {
                continue;
            }
            let text = text(&path);
            assert!(
                !text.contains("<style") && !text.contains(" style=\"") && !text.contains("javascript:"),
                "{path}: inline"
            );
            let base = if path.starts_with("/sdk/") { "/sdk/" } else { "/" };
            for quoted in text.split('"').skip(1) {
                let sdk = quoted.strip_prefix("../sdk/").map(|name| format!("/sdk/{name}"));
                let beside = quoted.strip_prefix("./").map(|name| format!("{base}{name}"));
                let absolute = quoted.starts_with('/').then(|| quoted.to_owned());
                let found = sdk
                    .or(beside)
                    .or(absolute)
                    .filter(|name| name.ends_with(".js") || name.ends_with(".css") || name.ends_with(".svg"));
                wanted.extend(found);
            }
            seen.push(path);
        }
        assert!(seen.len() > 15, "found only {seen:?}");
    }
}

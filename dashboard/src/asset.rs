//! What pages link to: the style sheet, the scripts and the icon, compiled in.
//!
//! Each has a version made of its content, so that a browser may keep it for ever: a changed file has another URL.
//! Nothing else is served from `/static/`. One script is not ours: `build.rs` takes it from `node_modules`.

/// A file under `/static/`.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its path, without the version.
    pub path: &'static str,
    /// For the `Content-Type` header.
    pub content_type: &'static str,
    /// The file itself.
    pub text: &'static str,
    /// Changes with the content.
    version: u64,
}

/// The style sheet.
pub const STYLE: Asset =
    Asset::new("/static/app.css", "text/css; charset=utf-8", include_str!("../static/app.css"));
/// The script that keeps pages up to date; they work without it.
pub const SCRIPT: Asset =
    Asset::new("/static/app.js", "text/javascript; charset=utf-8", include_str!("../static/app.js"));
/// Brings a part of a page up to date in place, for [`SCRIPT`], which comes after it: idiomorph, from npm.
pub const MORPH: Asset = Asset::new(
    "/static/idiomorph.js",
    "text/javascript; charset=utf-8",
    include_str!(concat!(env!("OUT_DIR"), "/idiomorph.js")),
);
/// The icon of a browser tab.
pub const ICON: Asset =
    Asset::new("/static/favicon.svg", "image/svg+xml", include_str!("../static/favicon.svg"));

/// How long a browser may keep a file whose URL names its version: a year, the longest that is customary.
pub const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

impl Asset {
    const fn new(path: &'static str, content_type: &'static str, text: &'static str) -> Self {
        Self { path, content_type, text, version: fnv1a(text.as_bytes()) }
    }

    /// Everything under `/static/`.
    pub const ALL: [Self; 4] = [STYLE, MORPH, SCRIPT, ICON];

    /// Finds what is served at a path.
    pub fn find(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|asset| asset.path == path)
    }

    /// The path with its version, for pages.
    pub fn url(&self) -> String {
        format!("{}?v={:016x}", self.path, self.version)
    }

    /// For the `ETag` header, quotes included.
    pub fn etag(&self) -> String {
        format!("\"{:016x}\"", self.version)
    }
}

/// FNV-1a: tells versions of our own files apart; it guards nothing.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        hash = (hash ^ *first as u64).wrapping_mul(0x0000_0100_0000_01b3);
        rest = tail;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_has_another_version() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c, "the published vector of FNV-1a 64");
        assert_ne!(STYLE.url(), SCRIPT.url());
    }

    #[test]
    fn only_the_four_files_are_served() {
        for asset in Asset::ALL {
            assert_eq!(Asset::find(asset.path).map(|found| found.url()), Some(asset.url()));
        }
        for path in ["/static/", "/static/../Cargo.toml", "/static/app.css/", ""] {
            assert!(Asset::find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn pages_obey_their_own_content_security_policy() {
        let style = STYLE.text.replace("xmlns='http://www.w3.org/2000/svg'", "");
        assert!(!style.contains("http") && !style.contains("@import"), "nothing comes from elsewhere");
        for script in [MORPH, SCRIPT] {
            for forbidden in ["eval(", "new Function", ".style.", "import("] {
                assert!(!script.text.contains(forbidden), "{}: {forbidden}", script.path);
            }
        }
    }
}

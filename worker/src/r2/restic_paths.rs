//! The paths, ranges and lists of restic's REST protocol, as pure functions.
//!
//! A path names a kind of object and, for all but `config`, a name of 64 hex digits; nothing else ever reaches storage.

use ebbtide_control::repository::Kind;
use ebbtide_control::repository::view::Reader;
use serde::{Deserialize, Serialize};

/// Content type of the second form of lists.
pub const LIST_V2: &str = "application/vnd.x.restic.rest.v2";
/// Content type of the first form.
pub const LIST_V1: &str = "application/vnd.x.restic.rest.v1";

/// The name of an object: the SHA-256 of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    hex: String,
    bytes: [u8; 32],
}

impl Name {
    /// Reads 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self { hex: text.to_owned(), bytes })
    }

    /// As text.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// As bytes.
    pub fn bytes(&self) -> [u8; 32] {
        self.bytes
    }
}

/// What a path below a repository's URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The repository itself.
    Root,
    /// Its configuration.
    Config,
    /// All objects of a kind.
    List(Kind),
    /// One object.
    Object(Kind, Name),
}

impl Place {
    /// Reads a path without a leading slash. One trailing slash is allowed where restic sends it.
    pub fn parse(path: &str) -> Option<Self> {
        match path {
            "" => return Some(Self::Root),
            "config" => return Some(Self::Config),
            _ => {}
        }
        match path.split_once('/') {
            None => Kind::parse(path).map(Self::List),
            Some((kind, "")) => Kind::parse(kind).map(Self::List),
            Some((kind, name)) => Some(Self::Object(Kind::parse(kind)?, Name::parse(name)?)),
        }
    }

    /// Path of the object in the repository; `None` for what is no object.
    pub fn object_path(&self) -> Option<String> {
        match self {
            Self::Root | Self::List(_) => None,
            Self::Config => Some("config".to_owned()),
            Self::Object(kind, name) => Some(format!("{}/{}", kind.as_str(), name.hex())),
        }
    }
}

/// Reads as of which receipt a repository is read: `latest`, `verified` or a snapshot's whole id.
pub fn as_of(text: &str) -> Option<Reader> {
    match text {
        "latest" => Some(Reader::Latest),
        "verified" => Some(Reader::Verified),
        name => Name::parse(name).map(|name| Reader::Snapshot(name.hex)),
    }
}

/// Takes `as-of/{receipt}/` off a path, which is how stock restic says it; `None` where it names no receipt.
pub fn split_as_of(path: &str) -> Option<(Option<Reader>, &str)> {
    let Some(rest) = path.strip_prefix("as-of/") else { return Some((None, path)) };
    let (receipt, rest) = rest.split_once('/').unwrap_or((rest, ""));
    Some((Some(as_of(receipt)?), rest))
}

/// A part of an object, from the first byte to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
}

impl Part {
    /// Number of bytes.
    pub fn length(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// What a `Range` header asks of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranged {
    /// All of it: no header, or one that we need not understand.
    Whole,
    /// A part.
    Part(Part),
    /// A part that it does not have.
    Unsatisfiable,
}

/// Reads a `Range` header for an object of `size` bytes. Several ranges at once are answered with the whole, as the
/// protocol allows.
pub fn range(header: Option<&str>, size: u64) -> Ranged {
    let Some((first, last)) = header
        .and_then(|header| header.trim().strip_prefix("bytes="))
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Ranged::Whole;
    };
    let end = size.saturating_sub(1);
    let part = match (first.trim(), last.trim()) {
        ("", suffix) => match digits(suffix) {
            Some(0) => return Ranged::Unsatisfiable,
            Some(length) => Part { first: size.saturating_sub(length), last: end },
            None => return Ranged::Whole,
        },
        (first, last) => {
            let last = if last.is_empty() { Some(end) } else { digits(last) };
            match (digits(first), last) {
                (Some(first), Some(last)) if first <= last => Part { first, last: last.min(end) },
                (Some(first), Some(last)) if first > last && first < size => return Ranged::Whole,
                (Some(_), Some(_)) => return Ranged::Unsatisfiable,
                _ => return Ranged::Whole,
            }
        }
    };
    if size == 0 || part.first >= size { Ranged::Unsatisfiable } else { Ranged::Part(part) }
}

/// A number of digits alone; the library takes a sign before them.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Which form of list an `Accept` header asks for.
pub fn wants_v2(accept: Option<&str>) -> bool {
    accept.is_some_and(|accept| accept.contains(LIST_V2))
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The content type of a list.
pub fn list_type(v2: bool) -> &'static str {
    if v2 { LIST_V2 } else { LIST_V1 }
}

/// The body and content type of a list.
///
/// # Errors
/// What the JSON writer says.
pub fn list(objects: &[Listed], v2: bool) -> Result<(String, &'static str), serde_json::Error> {
    if v2 {
        Ok((serde_json::to_string(objects)?, LIST_V2))
    } else {
        let names: Vec<&str> = objects.iter().map(|object| object.name.as_str()).collect();
        Ok((serde_json::to_string(&names)?, LIST_V1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn paths_of_the_protocol_are_read() {
        let name = || Name::parse(NAME).unwrap();
        let table = [
            ("", Place::Root),
            ("config", Place::Config),
            ("data/", Place::List(Kind::Data)),
            ("keys", Place::List(Kind::Keys)),
            ("locks/", Place::List(Kind::Locks)),
        ];
        for (path, wanted) in table {
            assert_eq!(Place::parse(path), Some(wanted), "{path}");
        }
        assert_eq!(Place::parse(&format!("snapshots/{NAME}")), Some(Place::Object(Kind::Snapshots, name())));
        let object = Place::parse(&format!("index/{NAME}")).unwrap();
        assert_eq!(object.object_path(), Some(format!("index/{NAME}")));
        assert_eq!(name().bytes()[1], 0x11);
    }

    #[test]
    fn nothing_else_reaches_storage() {
        let upper = NAME.to_uppercase();
        for path in [
            "config/",
            "data//",
            "/data/",
            "data/../config",
            "data/00/11",
            "packs/",
            "data/..",
            "key.json",
            "../key.json",
            "data/%2e%2e",
            &format!("data/{upper}"),
            &format!("data/{}", &NAME[1..]),
            &format!("data/{NAME}0"),
            &format!("data/{NAME}/"),
            &format!("config/{NAME}"),
        ] {
            assert_eq!(Place::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_receipt_may_stand_before_the_path() {
        let snapshot = Reader::Snapshot(NAME.to_owned());
        let table = [
            ("data/", Some((None, "data/"))),
            ("as-of/latest/config", Some((Some(Reader::Latest), "config"))),
            ("as-of/latest", Some((Some(Reader::Latest), ""))),
            (&*format!("as-of/{NAME}/keys/"), Some((Some(snapshot), "keys/"))),
            ("as-of/0011/config", None),
            ("as-of//config", None),
            ("as-of/", None),
        ];
        for (path, wanted) in table {
            assert_eq!(split_as_of(path), wanted, "{path}");
        }
    }

    #[test]
    fn ranges_are_read_as_http_says() {
        let part = |first, last| Ranged::Part(Part { first, last });
        let table = [
            (None, 10, Ranged::Whole),
            (Some("bytes=0-3"), 10, part(0, 3)),
            (Some("bytes=4-"), 10, part(4, 9)),
            (Some("bytes=4-99"), 10, part(4, 9)),
            (Some("bytes=-3"), 10, part(7, 9)),
            (Some("bytes=-30"), 10, part(0, 9)),
            (Some("bytes=10-"), 10, Ranged::Unsatisfiable),
            (Some("bytes=10-12"), 10, Ranged::Unsatisfiable),
            (Some("bytes=-0"), 10, Ranged::Unsatisfiable),
            (Some("bytes=0-"), 0, Ranged::Unsatisfiable),
            (Some("bytes=5-2"), 10, Ranged::Whole),
            (Some("bytes=0-1,3-4"), 10, Ranged::Whole),
            (Some("bytes=x-1"), 10, Ranged::Whole),
            (Some("bytes=+0-3"), 10, Ranged::Whole),
            (Some("bytes=0-+3"), 10, Ranged::Whole),
            (Some("lines=1-2"), 10, Ranged::Whole),
            (Some("bytes=99999999999999999999-"), 10, Ranged::Whole),
        ];
        for (header, size, wanted) in table {
            assert_eq!(range(header, size), wanted, "{header:?} of {size}");
        }
        assert_eq!(Part { first: 4, last: 9 }.length(), 6);
    }

    #[test]
    fn lists_come_in_both_forms() {
        let objects = [Listed { name: "ab".into(), size: 3 }];
        assert_eq!(list(&objects, false).unwrap(), (r#"["ab"]"#.to_owned(), LIST_V1));
        assert_eq!(list(&objects, true).unwrap(), (r#"[{"name":"ab","size":3}]"#.to_owned(), LIST_V2));
        assert!(wants_v2(Some(LIST_V2)) && !wants_v2(Some("*/*")) && !wants_v2(None));
        assert_eq!(list(&[], true).unwrap().0, "[]");
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::text_like;
    use proptest::prelude::*;

    const PATHS: &[&str] = &[
        "data/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "as-of/latest/index/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "as-of/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff/snapshots/",
        "config",
    ];
    const RANGES: &[&str] = &["bytes=0-499", "bytes=-5", "bytes=7-", "bytes=1-2,4-5"];

    proptest! {
        #[test]
        fn a_path_leads_to_an_object_of_its_kind_or_nowhere(path in text_like(PATHS)) {
            let object = split_as_of(&path).and_then(|(_, rest)| Place::parse(rest)).and_then(|place| place.object_path());
            if let Some(object) = object {
                let (kind, name) = object.split_once('/').unwrap_or(("keys", object.as_str()));
                prop_assert!(Kind::parse(kind).is_some());
                prop_assert!(name == "config" || name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()));
                prop_assert!(path.ends_with(&object));
            }
        }

        #[test]
        fn a_part_lies_within_its_object(header in text_like(RANGES), size in prop_oneof![0..20u64, any::<u64>()]) {
            if let Ranged::Part(part) = range(Some(&header), size) {
                prop_assert!(part.first <= part.last && part.last < size, "{:?} of {}", part, size);
                prop_assert!(!header.contains('+'), "no digits in {}", header);
            }
        }
    }
}

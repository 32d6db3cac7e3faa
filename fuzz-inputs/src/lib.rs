//! What strangers might write to a parser: samples of what it reads, bent out of shape, and now and then plain noise.
//!
//! proptest draws and shrinks; nothing here measures coverage, so the samples have to lead to each branch. Each target is
//! a test in a module `fuzz` beside its parser; `scripts/fuzz` runs them for minutes. Must never be used outside tests.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Pieces at which parsers have stumbled before.
const PIECES: [&[u8]; 36] = [
    b"\0",
    b"\x01",
    b"\x7f",
    b"\xff",
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    "\u{e9}".as_bytes(),
    "\u{130}".as_bytes(),
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\t",
    b" ",
    b"/",
    b"//",
    b"\\",
    b"..",
    b"../",
    b"%00",
    b"%2e%2e",
    b"%",
    b"-",
    b"--",
    b"+",
    b"*",
    b"[",
    b"]",
    b"{",
    b"\"",
    b":",
    b"@",
    b"#",
    b"18446744073709551615",
    b"99999999999999999999",
    b"-1",
];
/// Most changes to one sample.
const CHANGES: usize = 6;

/// One change to a text.
#[derive(Debug, Clone)]
enum Change {
    Cut(Index, usize),
    Repeat(Index, usize, usize),
    Insert(Index, Vec<u8>),
    Overwrite(Index, u8),
    End(Index),
    Join(Index, &'static str),
}

fn change(samples: &'static [&'static str]) -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        1 => (index(), 1..9usize).prop_map(|(at, length)| Change::Cut(at, length)),
        1 => (index(), 1..17usize, 1..40usize).prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        3 => (index(), select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece.to_vec())),
        1 => (index(), vec(any::<u8>(), 1..5)).prop_map(|(at, noise)| Change::Insert(at, noise)),
        2 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Overwrite(at, byte)),
        1 => index().prop_map(Change::End),
        1 => (index(), select(samples)).prop_map(|(at, other)| Change::Join(at, other)),
    ]
}

impl Change {
    fn apply(&self, text: &mut Vec<u8>) {
        let place = |at: &Index| at.index(text.len() + 1);
        match self {
            Self::Cut(at, length) => {
                let from = place(at);
                text.drain(from..(from + length).min(text.len()));
            }
            Self::Repeat(at, length, times) => {
                let from = place(at);
                let part = text[from..(from + length).min(text.len())].repeat(*times);
                text.splice(from..from, part);
            }
            Self::Insert(at, bytes) => {
                let from = place(at);
                text.splice(from..from, bytes.iter().copied());
            }
            Self::Overwrite(at, byte) => {
                let from = place(at);
                if let Some(old) = text.get_mut(from) {
                    *old = *byte;
                }
            }
            Self::End(at) => text.truncate(place(at)),
            Self::Join(at, other) => {
                text.truncate(place(at));
                text.extend_from_slice(other.as_bytes());
            }
        }
    }
}

/// Bytes that look like one of the samples, more or less.
pub fn bytes_like(samples: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let bent = (select(samples), vec(change(samples), 0..=CHANGES)).prop_map(|(sample, changes)| {
        let mut text = sample.as_bytes().to_vec();
        for change in changes {
            change.apply(&mut text);
        }
        text
    });
    prop_oneof![20 => bent, 1 => vec(any::<u8>(), 0..200)]
}

/// The same as text; what is not UTF-8 becomes replacement characters.
pub fn text_like(samples: &'static [&'static str]) -> impl Strategy<Value = String> {
    bytes_like(samples).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

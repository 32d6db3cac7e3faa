//! Public keys as people give them: one line of OpenSSH's, read strictly. What is kept is written anew from what was
//! read, so that neither options nor a second line can come along.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use std::fmt;

/// Shortest RSA modulus, in bits.
const RSA_LEAST: usize = 3072;
/// Longest that OpenSSH takes.
const RSA_MOST: usize = 16_384;

/// A public key that may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: &'static str,
    blob: Vec<u8>,
}

/// Why a text is no key that may sign in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// The private half.
    #[error("this is a private key")]
    Private,
    /// A kind that is not taken, or options before the key.
    #[error("it does not begin with a kind of key that is taken")]
    Kind,
    /// More than one line.
    #[error("it is more than one line")]
    Lines,
    /// Not base64, or not what its kind says.
    #[error("the key is cut off or damaged")]
    Damaged,
    /// RSA of too few or too many bits.
    #[error("the RSA key has {0} bits")]
    Rsa(usize),
}

impl PublicKeyError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Private => {
                "Give the file that ends in .pub, and make a new key pair if anybody saw this one."
            }
            Self::Kind => {
                "Give one line of ~/.ssh/id_ed25519.pub, without options: ssh-ed25519, ecdsa-sha2-nistp…, ssh-rsa, or \
                 their sk- kinds."
            }
            Self::Lines => "Give each key a name of its own.",
            Self::Damaged => "Copy the whole line of the file that ends in .pub.",
            Self::Rsa(_) => {
                "RSA has 3072 to 16384 bits here; ssh-keygen -t ed25519 makes a key that is shorter and as good."
            }
        }
    }
}

/// What follows the kind's name in a key.
#[derive(Clone, Copy)]
enum Fields {
    /// 32 bytes.
    Ed25519,
    /// The curve's name, and a point of so many bytes.
    Ecdsa(&'static str, usize),
    /// Exponent and modulus.
    Rsa,
}

/// A kind that is taken: its name, its fields, and whether a device holds it, whose application is named last.
struct Kind {
    name: &'static str,
    fields: Fields,
    on_device: bool,
}

const KINDS: [Kind; 7] = [
    Kind { name: "ssh-ed25519", fields: Fields::Ed25519, on_device: false },
    Kind { name: "ecdsa-sha2-nistp256", fields: Fields::Ecdsa("nistp256", 65), on_device: false },
    Kind { name: "ecdsa-sha2-nistp384", fields: Fields::Ecdsa("nistp384", 97), on_device: false },
    Kind { name: "ecdsa-sha2-nistp521", fields: Fields::Ecdsa("nistp521", 133), on_device: false },
    Kind { name: "ssh-rsa", fields: Fields::Rsa, on_device: false },
    Kind { name: "sk-ssh-ed25519@openssh.com", fields: Fields::Ed25519, on_device: true },
    Kind {
        name: "sk-ecdsa-sha2-nistp256@openssh.com",
        fields: Fields::Ecdsa("nistp256", 65),
        on_device: true,
    },
];

impl PublicKey {
    /// Reads one line; a comment behind the key is left out.
    ///
    /// # Errors
    /// Why it may not sign in.
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(PublicKeyError::Private);
        }
        if text.contains(['\n', '\r']) {
            return Err(PublicKeyError::Lines);
        }
        let mut words = text.split_ascii_whitespace();
        let (name, encoded) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let kind = KINDS.iter().find(|kind| kind.name == name).ok_or(PublicKeyError::Kind)?;
        let blob = BASE64.decode(encoded).map_err(|_| PublicKeyError::Damaged)?;
        check(kind, &blob)?;
        Ok(Self { kind: kind.name, blob })
    }

    /// An Ed25519 key.
    pub(super) fn ed25519(key: &[u8; 32]) -> Self {
        let kind = "ssh-ed25519";
        let mut blob = Vec::new();
        put_string(&mut blob, kind.as_bytes());
        put_string(&mut blob, key);
        Self { kind, blob }
    }

    /// The key as it is sent.
    pub(super) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// As `ssh-keygen -l` shows it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }
}

/// Kind and key, as in `authorized_keys`.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, BASE64.encode(&self.blob))
    }
}

fn check(kind: &Kind, blob: &[u8]) -> Result<(), PublicKeyError> {
    let mut rest = blob;
    let mut next = || take_string(&mut rest).ok_or(PublicKeyError::Damaged);
    let whole = |is_whole: bool| if is_whole { Ok(()) } else { Err(PublicKeyError::Damaged) };
    whole(next()? == kind.name.as_bytes())?;
    match kind.fields {
        Fields::Ed25519 => whole(next()?.len() == 32)?,
        Fields::Ecdsa(curve, length) => {
            whole(next()? == curve.as_bytes())?;
            let point = next()?;
            // Uncompressed: the only form that OpenSSH reads.
            whole(point.len() == length && point.first() == Some(&4))?;
        }
        Fields::Rsa => {
            let (exponent, modulus) = (next()?, next()?);
            whole(bits(exponent) > 1)?;
            let size = bits(modulus);
            if !(RSA_LEAST..=RSA_MOST).contains(&size) {
                return Err(PublicKeyError::Rsa(size));
            }
        }
    }
    if kind.on_device {
        whole(!next()?.is_empty())?;
    }
    whole(rest.is_empty())
}

/// Length of a number that is written with its highest byte first.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let highest = number.get(zeros).map_or(0, |byte| 8 - byte.leading_zeros() as usize);
    (number.len() - zeros).saturating_sub(1) * 8 + highest
}

/// Takes a text with its length before it off the front.
fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let (text, behind) = behind.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = behind;
    Some(text)
}

/// Puts a text with its length before it at the end.
pub(super) fn put_string(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by ssh-keygen, with the fingerprints that it shows.
    const MADE: [(&str, &str); 4] = [
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkVjA0oKZP8/lQhL+U2J7/ylHq35ZGpeQDShr5ZjFLh",
            "SHA256:zwxK+HJicUTpGh7FrYj+9fvbnvGz+PH/DHU6u3bG/DY",
        ),
        (
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBB/vQ+D3z583rYOWMtVcFbiEjcAVAI/WpB+aQMrOFnsSFiwhvcqx5zOI5GlALqSjsZ5fuZH4HrqEKibcjF/pK9g=",
            "SHA256:UZmpehq9RnI9SZUlAX7usaQO+z7pV1hzTXXOJkdbCeY",
        ),
        (
            "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAE9ycfz9mXcbvTHKzTkX/A5rlgpKNtAiTrMiAzHdQx2/J+bg7gz9988RaiiDaRg/U0+CoahLEfNtrOsX7pXfIbdHwHkBKmkm9oTxgxbZlIhwRGbe6Xf35zmoniy5OIn6iPXUsRmJFK5VAblODEFn+uytc2UfNivUCvnQqPX57YEXrKGDA==",
            "SHA256:mJNeqsDxDbDWXv6yWQ2iQQTzMgROYQe1pj0SZw6MlC4",
        ),
        (
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQCim5wklnJ2K1t6F4TrOYoqcK4QckMqe7sHSRZ8Cp4hPv5zOxcUGnjdy/XgiAhwhgI7HVM9C9KKb88McIOg4HfF3t9qG2oQqwxz5quWsPFDueEeLWOEAhfQ976SWOOi/V8qXhlxjAz0YBDEr5Jfa0BPZ9bJVbuiHtS80znToUWaC1mlsy0hUX9rwwWNe6B2CMujsoIVFKoQ+3uCy7nd6+MZDYbZHVMtPZ8XTvHAY/OfAoGvJLXpJ8pC/13kzIBcCgNJ8b1vc8oWENqlOfXmYy6BC+NoUIDQObSUc3ZAny8gVALwWk3pFmykxfB8f9QXu5qk7VfFUcLgTKq+kFWZPIiugtvxAtnH0aL89uvh2mJsBAs2IyEXSe4SLUx07Gi5mIlANqg0aN3AD626oNHaE7FODajxCUF7mZjX4eOb8qAvr4FzddHZgy5cBtFMYZ+l0dfsWwibb4EwDA4P59T4k/I7JmuOoM56lv8yqnFrZzlTBER04v/671zFTctDbQ/cBlE=",
            "SHA256:m3z5Eq1UCVLEzS9eGjxCwYz/OlZowdBQ21ZfmQA7Beo",
        ),
    ];
    const SHORT_RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC1vujtmPq6B8dFqiKHgY2XuvxVu0rVrftabqCvR6D3ug0grdwop44Hf+fPDs6cYJBvWLSVicuWKQvvUZu55oLGdbV7SdXtn/NC2APRCYhTgVYcbPLr5d3xa/WlstpWH3dSr/s8NDqJCJlGRX4cOfLRg4/7/gzNx1ESnZoHUAOFDxxPGKm4XrYdnbWENmniWr7lAKdlnrlpCRQ5iZPgndstq3IRYl8EQaYi4IJje1XjNgBep9aUazqnDqKCAWVSNMOC5qcuCHrmSWI134EFQH2MuYORjJRN8jh3SmEQD3y+0kHxIyCz6c+6U1bjIymHXIV8HfPgMjXQ9ZEDAy286CE9";

    #[test]
    fn keys_that_ssh_keygen_makes_are_read_and_written_the_same_without_their_comment() {
        for (line, fingerprint) in MADE {
            let key = PublicKey::parse(&format!(" {line} me@laptop, with blanks\n")).unwrap();
            assert_eq!(key.to_string(), line);
            assert_eq!(key.fingerprint(), fingerprint);
        }
    }

    #[test]
    fn keys_on_devices_name_their_application() {
        for (name, fields) in [
            ("sk-ssh-ed25519@openssh.com", vec![vec![9; 32]]),
            (
                "sk-ecdsa-sha2-nistp256@openssh.com",
                vec![b"nistp256".to_vec(), [vec![4], vec![9; 64]].concat()],
            ),
        ] {
            let line = |fields: &[Vec<u8>]| {
                let mut blob = Vec::new();
                put_string(&mut blob, name.as_bytes());
                fields.iter().for_each(|field| put_string(&mut blob, field));
                format!("{name} {}", BASE64.encode(blob))
            };
            assert_eq!(PublicKey::parse(&line(&fields)), Err(PublicKeyError::Damaged), "{name}");
            let whole = [fields, vec![b"ssh:".to_vec()]].concat();
            assert_eq!(PublicKey::parse(&line(&whole)).unwrap().to_string(), line(&whole));
        }
    }

    #[test]
    fn what_could_be_more_than_a_key_is_refused() {
        let (good, _) = MADE[0];
        let cut = &good[..good.len() - 4];
        let table = [
            (format!("command=\"id\" {good}"), PublicKeyError::Kind),
            (format!("restrict,{good}"), PublicKeyError::Kind),
            (format!("@cert-authority {good}"), PublicKeyError::Kind),
            (good.replacen("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", 1), PublicKeyError::Kind),
            (good.replacen("ssh-ed25519", "ssh-dss", 1), PublicKeyError::Kind),
            (good.replacen("ssh-ed25519", "ssh-rsa", 1), PublicKeyError::Damaged),
            (format!("{good}\n{good}"), PublicKeyError::Lines),
            (cut.to_owned(), PublicKeyError::Damaged),
            (format!("{good}AAAA"), PublicKeyError::Damaged),
            ("ssh-ed25519".to_owned(), PublicKeyError::Damaged),
            (String::new(), PublicKeyError::Kind),
            (SHORT_RSA.to_owned(), PublicKeyError::Rsa(2048)),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nx".to_owned(), PublicKeyError::Private),
        ];
        for (text, refusal) in table {
            assert!(!refusal.hint().is_empty());
            assert_eq!(PublicKey::parse(&text), Err(refusal), "{text}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        for kind in &KINDS {
            for length in 0..40 {
                let text = format!("{} {}", kind.name, BASE64.encode(vec![0xff; length]));
                assert!(PublicKey::parse(&text).is_err());
            }
        }
    }
}

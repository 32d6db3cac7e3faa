//! Values that must not be seen: keys, tokens, user-data.
//!
//! A [`Secret`] has a redacted `Debug`, no `Display` and no `Serialize`, and is overwritten when it is dropped. It is
//! read only through [`Secret::expose`], so that every place that handles the value in clear can be found by name.

use std::fmt;
use zeroize::Zeroize;

/// A value that is neither printed nor left behind in memory.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

/// A secret text: a token, a password.
pub type SecretText = Secret<String>;
/// A 256-bit symmetric key or a signing seed.
pub type SecretKey = Secret<[u8; 32]>;

impl<T: Zeroize> Secret<T> {
    /// Takes charge of a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value in clear; the caller sees to it that it goes no further than needed.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn debug_output_shows_nothing_of_the_value() {
        let secret = SecretText::from("hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(redacted) Some(Secret(redacted))");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn the_value_is_overwritten_when_it_is_dropped() {
        struct Watched(Rc<Cell<bool>>);
        impl Zeroize for Watched {
            fn zeroize(&mut self) {
                self.0.set(true);
            }
        }
        let wiped = Rc::new(Cell::new(false));
        drop(Secret::new(Watched(Rc::clone(&wiped))));
        assert!(wiped.get());
    }
}

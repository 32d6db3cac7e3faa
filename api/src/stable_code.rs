//! Codes that stand beside a sentence, so that its wording can change and programs still know what happened.
//!
//! What holds one outlives programs: a code that this version does not know is data, and is passed on as it is (`Other`).
//! Codes are never renamed; `ALL` is what the reference lists.

macro_rules! stable_codes {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal, $meaning:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $(#[doc = $meaning] $variant,)+
            /// A code of another version.
            Other(String),
        }

        impl $name {
            /// All codes of this version, for documents and tests.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable text form.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $code,)+ Self::Other(code) => code }
            }

            /// What it means, one sentence.
            pub const fn meaning(&self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                    Self::Other(_) => "A code that this version does not know.",
                }
            }
        }

        impl From<String> for $name {
            fn from(code: String) -> Self {
                Self::ALL.iter().find(|known| known.as_str() == code).cloned().unwrap_or(Self::Other(code))
            }
        }

        impl From<$name> for String {
            fn from(code: $name) -> Self {
                code.as_str().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

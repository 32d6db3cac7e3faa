//! What to do next, in two forms: for who calls the API, and for who looks at a page with its buttons.
//!
//! Stored failures and refusals hold the API's sentence. A page finds the other form by that sentence, so records
//! that were written long ago show it too: the API's sentences here are pinned, like everything that is stored.

use std::borrow::Cow;

macro_rules! hints {
    ($($(#[$doc:meta])+ $variant:ident = $api:literal, $page:literal;)+) => {
        /// What to do next.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Hint { $($(#[$doc])+ $variant,)+ }

        impl Hint {
            /// All of them, for documents and tests.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// For who calls the API.
            pub const fn for_api(self) -> &'static str { match self { $(Self::$variant => $api,)+ } }

            /// For who looks at a page.
            pub const fn for_page(self) -> &'static str { match self { $(Self::$variant => $page,)+ } }
        }
    };
}

hints! {
    /// A boot step failed for a reason that its owner can mend.
    CorrectAndRetry = "Correct what the message names, then POST …/retry.",
        "Correct what the message names, then press Try again.";
    /// A machine did not get through its boot plan in time.
    ReadTheLog = "Read GET …/log for the last lines, then POST …/retry.",
        "See the log below, then press Try again.";
    /// A machine did not become ready before its lifetime was over.
    LongerLifetime = "PATCH it with a longer `lifetime`, or with another `size`; then POST …/retry.",
        "Give it a longer lifetime, then press Try again.";
    /// There is no room where the machine was to be.
    NoRoom = "Choose another size or location from GET /v1/catalog, or POST …/retry later.",
        "Press Try again later, or create a workspace of another size or in another location.";
    /// No server could be created within the time for it.
    RetryOrMove = "Try again with POST …/retry, or choose another location.",
        "Press Try again, or create a workspace in another location.";
    /// The provider lets this project have no more.
    RaiseTheLimit = "End a server in this project or ask the provider for a higher limit, then POST …/retry.",
        "End a server in your Hetzner project or ask Hetzner for a higher limit, then press Try again.";
    /// The provider refuses this kind of server.
    ChooseOffered = "Choose a size and location from GET /v1/catalog.",
        "Create a workspace with a size and location from the list.";
    /// A size or location was named for a machine that there is.
    ChangeThePlace = "PATCH it with `size` or `location`: that holds from the next start on.",
        "Put it to sleep first.";
    /// What a wake costs could not be reserved.
    WakeAgain = "Wake it again with POST …/wake.",
        "Press Wake.";
    /// The machine is gone, and with it what was in no backup.
    WakeRestores = "POST …/wake restores the last verified backup.",
        "Press Wake to go on from the last verified backup.";
    /// A rescue image holds the work.
    WakeSalvages = "POST …/wake salvages the image into the backups and wakes from that; with a snapshot it wakes without the image. Until then the image is billed by the gigabyte and month.",
        "Press Wake to recover this work. Two servers run in turn, two hours are billed. Until then the image is billed by the gigabyte and month.";
    /// A rescue image could not be brought into the backups; how long it is kept follows.
    SalvageAgain = "POST …/retry tries again; POST …/wake with a snapshot wakes that backup without the image, which is kept",
        "Press Try again, or wake from one of the backups below without the image, which is kept";
    /// The record of a workspace is lost, its backups are not.
    RestoreAndDelete = "POST …/restore-kit gives what restic needs to read its backups; then DELETE the workspace and create another.",
        "Its backups can be read with a restore kit, as the manual says. Then delete it, and create another workspace.";
    /// Nothing is known of such a size or location.
    SeeCatalog = "GET /v1/catalog lists them.",
        "Choose one from the list, or leave it empty.";
    /// Prices are not to be had.
    PricesLater = "Try again in a minute; GET /v1/catalog shows whether the provider answers.",
        "Try again in a minute.";
    /// There is no such hold.
    SeeHolds = "GET the workspace lists its holds.",
        "The page of the workspace lists its holds.";
    /// There is no such link.
    SeeLinks = "GET /v1/workspaces/{id}/links lists those in force.",
        "Links end by themselves at their time.";
    /// There is no such backup.
    SeeSnapshots = "GET /v1/workspaces/{id}/snapshots lists those that exist.",
        "The page of the workspace lists its backups.";
    /// As `ErrorCode::NotFound` says it.
    SeeWorkspaces = "List what exists with GET /v1/workspaces.",
        "It may have been deleted; the overview lists what exists.";
    /// As `ErrorCode::Unauthorized` says it.
    SignIn = "Send Authorization: Bearer with an API key or the owner token.",
        "Sign in with the owner token.";
    /// As `ErrorCode::TokenExpired` says it.
    SignInAgain = "Renew the token and send the request again.",
        "Sign in again.";
    /// As `ErrorCode::Forbidden` says it.
    UseAnotherKey = "Use a key whose scope covers this request.",
        "Sign in with the owner token.";
    /// As `ErrorCode::IdempotencyMismatch` says it.
    NewKey = "Use a new Idempotency-Key for a new request.",
        "Open the form again and send it once.";
    /// As `ErrorCode::IdempotencyInProgress` says it.
    StillRunning = "The first request with this key is still running; ask again in a moment.",
        "It is still being created; look at the overview in a moment.";
    /// As `ErrorCode::RateLimited` says it.
    Wait = "Wait for the seconds given in Retry-After.",
        "Wait a minute, then try again.";
    /// As `ErrorCode::NotConfigured` says it.
    SeeHealth = "GET /health names what the installation lacks.",
        "Open /health at this address: it names what the installation lacks.";
}

impl Hint {
    /// The hint that a stored or sent sentence is, and what follows it there.
    pub fn of(sentence: &str) -> Option<(Self, &str)> {
        Self::ALL.iter().find_map(|hint| {
            let rest = sentence.strip_prefix(hint.for_api())?;
            // A whole sentence is followed by nothing.
            (rest.is_empty() || !hint.for_api().ends_with('.')).then_some((*hint, rest))
        })
    }

    /// A stored or sent sentence as a page says it. One that is nobody's loses what speaks of calls to the API.
    pub fn page_form(sentence: &str) -> Cow<'_, str> {
        if let Some((hint, rest)) = Self::of(sentence) {
            return Cow::Owned(format!("{}{rest}", hint.for_page()));
        }
        if !speaks_of_the_api(sentence) {
            return Cow::Borrowed(sentence);
        }
        let kept: Vec<&str> =
            sentence.split_inclusive(". ").filter(|part| !speaks_of_the_api(part)).collect();
        match kept.concat() {
            kept if kept.trim().is_empty() => {
                Cow::Borrowed("Correct what the message names, then try again.")
            }
            kept => Cow::Owned(kept.trim().to_owned()),
        }
    }
}

/// Whether a sentence names a call, a header or a document of the API.
fn speaks_of_the_api(sentence: &str) -> bool {
    let calls = ["GET ", "POST ", "PUT ", "PATCH ", "DELETE "].iter().any(|method| {
        let mut after = sentence.split(method).skip(1);
        after.any(|path| path.starts_with(['/', '…']) || path.starts_with("the "))
    });
    calls
        || ["/v1/", "/openapi.json", "Authorization:", "-Length", "-Key", "Retry-After"]
            .iter()
            .any(|word| sentence.contains(word))
}

impl From<Hint> for Cow<'static, str> {
    fn from(hint: Hint) -> Self {
        Cow::Borrowed(hint.for_api())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn no_hint_speaks_of_the_api_on_a_page() {
        for hint in Hint::ALL {
            assert!(!speaks_of_the_api(hint.for_page()), "{hint:?}");
            assert_eq!(Hint::page_form(hint.for_api()), hint.for_page());
        }
        for code in ErrorCode::ALL {
            assert!(!speaks_of_the_api(&Hint::page_form(code.hint())), "{code:?}");
        }
    }

    #[test]
    fn a_hint_of_an_older_record_is_found_by_its_sentence() {
        let kept = "POST …/retry tries again; POST …/wake with a snapshot wakes that backup without the image, which \
                    is kept until 2026-11-21T10:18:33Z.";
        assert_eq!(
            Hint::page_form(kept),
            "Press Try again, or wake from one of the backups below without the image, which is kept until \
             2026-11-21T10:18:33Z."
        );
        let restores = "POST …/wake restores the last verified backup.";
        assert_eq!(Hint::of(restores), Some((Hint::WakeRestores, "")));
    }

    #[test]
    fn an_unknown_hint_keeps_what_is_no_call() {
        let table = [
            ("Choose a shorter lifetime.", "Choose a shorter lifetime."),
            ("Make room first. Then POST …/retry.", "Make room first."),
            ("POST …/mend it.", "Correct what the message names, then try again."),
            ("GET a coffee.", "GET a coffee."),
        ];
        for (hint, page) in table {
            assert_eq!(Hint::page_form(hint), page, "{hint}");
        }
    }

    #[test]
    fn the_forms_of_the_api_are_pinned_because_records_hold_them() {
        let forms: Vec<_> = Hint::ALL.iter().map(|hint| format!("{hint:?}: {}", hint.for_api())).collect();
        insta::assert_snapshot!(forms.join("\n"));
    }
}

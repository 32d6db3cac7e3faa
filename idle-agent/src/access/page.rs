//! What somebody sees who is not let in: one sentence on why, one on what to do. No scripts, nothing from elsewhere.

use super::decide::Refusal;

/// The page for a refusal.
pub fn refusal(refusal: &Refusal) -> String {
    let (title, text) = refusal.words();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem}}</style>\
         <h1>{title}</h1><p>{text}</p></html>\n"
    )
}

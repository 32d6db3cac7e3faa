//! `POST /zones/{zone}/dns_records/batch`: deletes, patches, puts, posts, in this order, all or nothing.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Refusal, Reply,
    records::{Draft, record_json},
    success,
};
use crate::model::{Cloud, wire::Call};

/// Changes in one call on the free plan.
const MAX_CHANGES: usize = 200;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    deletes: Option<Vec<IdOnly>>,
    #[serde(default)]
    patches: Option<Vec<Draft>>,
    #[serde(default)]
    puts: Option<Vec<Draft>>,
    #[serde(default)]
    posts: Option<Vec<Draft>>,
}

#[derive(Deserialize)]
struct IdOnly {
    id: String,
}

impl Cloud {
    pub(super) fn batch_records(&mut self, call: &Call<'_>, zone: &str) -> Reply {
        let body: Body = call.parse()?;
        let deletes = body.deletes.unwrap_or_default();
        let patches = body.patches.unwrap_or_default();
        let puts = body.puts.unwrap_or_default();
        let posts = body.posts.unwrap_or_default();
        if deletes.len() + patches.len() + puts.len() + posts.len() > MAX_CHANGES {
            // The code is the local cloud's own; the vendor documents none.
            return Err(Refusal::new(400, 9999, format!("A batch may hold at most {MAX_CHANGES} changes.")));
        }
        let done = self.change_records(call, zone, |sheet, fresh| {
            let mut done: [Vec<Value>; 4] = Default::default();
            for delete in deletes {
                done[0].push(record_json(&sheet.delete(&delete.id)?));
            }
            for patch in patches {
                let id = patch.id.clone().ok_or_else(Refusal::no_record)?;
                done[1].push(record_json(&sheet.edit(&id, patch)?));
            }
            for put in puts {
                let id = put.id.clone().ok_or_else(Refusal::no_record)?;
                done[2].push(record_json(&sheet.replace(&id, put)?));
            }
            for post in posts {
                let (id, seq) = fresh();
                done[3].push(record_json(&sheet.create(id, seq, post)?));
            }
            Ok(done)
        })?;
        let [deletes, patches, puts, posts] = done;
        Ok(success(&json!({"deletes": deletes, "patches": patches, "puts": puts, "posts": posts})))
    }
}

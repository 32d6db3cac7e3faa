//! The OpenAPI 3.1 document, generated from the types of this crate.

use crate::Duration;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::RefOr;
use utoipa::{PartialSchema, ToSchema};

impl PartialSchema for Duration {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A length of time: `90m`, `1h30m` or ISO 8601 (`PT1H30M`); 1 s to 366 days."))
            .examples([serde_json::json!("90m")])
            .into()
    }
}

impl ToSchema for Duration {}

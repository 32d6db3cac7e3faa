//! The read-only catalogue endpoints: server types and locations.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Project, Sale, catalog,
    page::Page,
    refusal::{Refusal, Reply},
};
use crate::model::{
    Cloud,
    wire::{Call, Response},
};

#[derive(Serialize)]
struct OneType<'a> {
    server_type: &'a RawValue,
}

#[derive(Serialize)]
struct OneLocation<'a> {
    location: &'a RawValue,
}

impl Cloud {
    pub(super) fn list_server_types(&self, call: &Call<'_>) -> Reply {
        let name = call.one("name");
        let found = self
            .catalog
            .server_types
            .iter()
            .filter(|(key, _)| name.is_none_or(|name| name == **key))
            .map(|(_, raw)| raw)
            .collect();
        Ok(Page::cut(call, found)?.render(call, "server_types", |raw| raw))
    }

    pub(super) fn get_server_type(&self, id: &str) -> Reply {
        catalog::find_server_type(id)
            .and_then(|found| self.catalog.server_types.get(found.name))
            .map(|server_type| Response::of(200, &OneType { server_type }))
            .ok_or_else(|| Refusal::not_found("server type", id))
    }

    pub(super) fn list_locations(&self, call: &Call<'_>) -> Reply {
        let name = call.one("name");
        let found = catalog::LOCATIONS
            .iter()
            .filter(|location| name.is_none_or(|name| name == location.name))
            .filter_map(|location| self.catalog.locations.get(location.name))
            .collect();
        Ok(Page::cut(call, found)?.render(call, "locations", |raw| raw))
    }

    pub(super) fn get_location(&self, id: &str) -> Reply {
        catalog::find_location(id)
            .and_then(|found| self.catalog.locations.get(found.name))
            .map(|location| Response::of(200, &OneLocation { location }))
            .ok_or_else(|| Refusal::not_found("location", id))
    }

    /// Marks a server type as sold out in a location, as withdrawn for good, or as available again.
    pub fn set_sale(&mut self, server_type: &str, location: &str, sale: Sale) {
        let key = (server_type.to_owned(), location.to_owned());
        let Project { sold_out, withdrawn, .. } = &mut self.project;
        for (set, is_in) in [(sold_out, sale == Sale::SoldOut), (withdrawn, sale == Sale::Withdrawn)] {
            if is_in {
                set.insert(key.clone());
            } else {
                set.remove(&key);
            }
        }
        self.catalog = catalog::Catalog::render(&self.project);
        self.version += 1;
    }
}

//! What the object knows of its repository besides receipts: how many bytes it holds, and what each generation stands on.
//!
//! One small row each, apart from the record, so that an upload does not write the whole record anew.

use super::{Store, StoredBytes};
use crate::r2::visibility::{Lineage, Mark, Reach};
use ebbtide_api::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use worker::{Result, SqlStorageValue};

#[derive(Deserialize)]
struct BytesRow {
    bytes: f64,
    counted_ms: f64,
}

#[derive(Deserialize)]
struct LineageRow {
    generation: f64,
    snapshot: Option<String>,
    base_generation: Option<f64>,
    base_ms: Option<f64>,
}

#[derive(Deserialize)]
struct ReachRow {
    generation: f64,
    proved_ms: Option<f64>,
    vouched_ms: Option<f64>,
}

/// What generations stand on, as far as it is known where their snapshots lie.
#[derive(Debug, Default)]
pub struct Ancestry {
    /// Those that are known.
    pub lineage: Lineage,
    /// Snapshots of which storage has not been asked yet.
    pub unknown: BTreeMap<u32, String>,
}

impl Store {
    /// Bytes in the repository, uploads under way included.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn stored_bytes(&self) -> Result<StoredBytes> {
        let rows: Vec<BytesRow> =
            self.sql.exec("SELECT bytes, counted_ms FROM stored WHERE id = 1", None)?.to_array()?;
        Ok(rows.first().map_or_else(StoredBytes::default, |row| StoredBytes {
            bytes: whole(row.bytes),
            counted_ms: whole(row.counted_ms),
        }))
    }

    /// Writes them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_stored_bytes(&self, stored: StoredBytes) -> Result<()> {
        let values = vec![integer(stored.bytes), integer(stored.counted_ms)];
        let sql = "INSERT OR REPLACE INTO stored (id, bytes, counted_ms) VALUES (1, ?, ?)";
        self.sql.exec(sql, Some(values)).map(drop)
    }

    /// Notes on which snapshot a generation stands. The first note stays.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_base(&self, generation: u32, snapshot: Option<&str>) -> Result<()> {
        let snapshot = snapshot.map_or(SqlStorageValue::Null, SqlStorageValue::from);
        let sql = "INSERT OR IGNORE INTO lineage (generation, snapshot) VALUES (?, ?)";
        self.sql.exec(sql, Some(vec![i64::from(generation).into(), snapshot])).map(drop)
    }

    /// Notes where that snapshot lies.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn place_base(&self, generation: u32, base: Mark) -> Result<()> {
        let by = base.generation.map_or(SqlStorageValue::Null, |by| i64::from(by).into());
        let sql =
            "UPDATE lineage SET base_generation = ?, base_ms = ? WHERE generation = ? AND base_ms IS NULL";
        let values = vec![by, SqlStorageValue::Integer(base.at_ms), i64::from(generation).into()];
        self.sql.exec(sql, Some(values)).map(drop)
    }

    /// Notes until when a generation's objects were proved by a snapshot that goes.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_proved(&self, generation: u32, until_ms: i64) -> Result<()> {
        let sql = "INSERT INTO reach (generation, proved_ms) VALUES (?1, ?2) ON CONFLICT (generation)
                   DO UPDATE SET proved_ms = MAX(COALESCE(proved_ms, 0), ?2)";
        self.note_reach(sql, generation, until_ms)
    }

    /// Notes until when a generation's indexes are shown to everybody.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_vouched(&self, generation: u32, until_ms: i64) -> Result<()> {
        let sql = "INSERT INTO reach (generation, vouched_ms) VALUES (?1, ?2) ON CONFLICT (generation)
                   DO UPDATE SET vouched_ms = MAX(COALESCE(vouched_ms, 0), ?2)";
        self.note_reach(sql, generation, until_ms)
    }

    fn note_reach(&self, sql: &str, generation: u32, until_ms: i64) -> Result<()> {
        // A time beyond what a double holds exactly would come back as another.
        let until = SqlStorageValue::Integer(until_ms.clamp(0, (1 << 53) - 1));
        self.sql.exec(sql, Some(vec![i64::from(generation).into(), until])).map(drop)
    }

    /// How far generations are proved by snapshots that are gone, and vouched for.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn reaches(&self) -> Result<(Reach, Reach)> {
        let sql = "SELECT generation, proved_ms, vouched_ms FROM reach";
        let rows: Vec<ReachRow> = self.sql.exec(sql, None)?.to_array()?;
        let of = |pick: fn(&ReachRow) -> Option<f64>| {
            let known = |row: &ReachRow| {
                let until = i64::try_from(whole(pick(row)?)).ok()?;
                Some((number(row.generation), until))
            };
            rows.iter().filter_map(known).collect()
        };
        Ok((of(|row| row.proved_ms), of(|row| row.vouched_ms)))
    }

    /// What all generations stand on.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn ancestry(&self) -> Result<Ancestry> {
        let sql = "SELECT generation, snapshot, base_generation, base_ms FROM lineage";
        let rows: Vec<LineageRow> = self.sql.exec(sql, None)?.to_array()?;
        let mut ancestry = Ancestry::default();
        for row in rows {
            let generation = number(row.generation);
            match (row.snapshot, row.base_ms) {
                (Some(snapshot), None) => {
                    ancestry.unknown.insert(generation, snapshot);
                }
                (_, base_ms) => {
                    let base = base_ms.map(|at_ms| Mark {
                        generation: row.base_generation.map(number),
                        at_ms: i64::try_from(whole(at_ms)).unwrap_or(i64::MAX),
                    });
                    ancestry.lineage.insert(generation, base);
                }
            }
        }
        Ok(ancestry)
    }
}

impl StoredBytes {
    /// With so many more.
    pub fn plus(self, bytes: u64) -> Self {
        Self { bytes: self.bytes.saturating_add(bytes), ..self }
    }

    /// With so many less.
    pub fn minus(self, bytes: u64) -> Self {
        Self { bytes: self.bytes.saturating_sub(bytes), ..self }
    }

    /// When they were last counted, where ever.
    pub fn counted_at(self) -> Option<Timestamp> {
        let at = i64::try_from(self.counted_ms).ok().filter(|at| *at > 0)?;
        Timestamp::from_millisecond(at).ok()
    }
}

fn integer(number: u64) -> SqlStorageValue {
    SqlStorageValue::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bytes and milliseconds are exact in a double
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

fn number(generation: f64) -> u32 {
    u32::try_from(whole(generation)).unwrap_or(u32::MAX)
}

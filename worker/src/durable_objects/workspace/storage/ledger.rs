//! What the object knows of its repository besides receipts: how full it is, which indexes and snapshots arrived, and the set
//! of each verified snapshot. What they mean is in `ebbtide_control::repository`.
//!
//! Apart from the record, so that an upload does not write the whole record anew. Packs cost a row for many of them
//! ([`Stock::ahead`]), an index or a snapshot three or four each.

use super::{JsonRow, Store, parse_error};
use ebbtide_api::{Generation, Timestamp};
use ebbtide_control::repository::view::{Entry, Found, Ledger, NewEntry};
use ebbtide_control::repository::{Kind, Stock};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::rc::Rc;
use worker::{Result, SqlStorageValue};

/// Tables of the repository.
pub(super) const TABLES: &str =
    "CREATE TABLE IF NOT EXISTS stock (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL);
     CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
        size INTEGER NOT NULL, place INTEGER, generation INTEGER, at_ms INTEGER NOT NULL,
        shared INTEGER NOT NULL, gone_ms INTEGER, UNIQUE (kind, name));
     CREATE TABLE IF NOT EXISTS sets (snapshot TEXT PRIMARY KEY, places TEXT NOT NULL);";

/// How full the repository is, and what is written down of it.
pub(super) struct KeptStock {
    now: Stock,
    written: Stock,
}

#[derive(Deserialize)]
struct EntryRow {
    id: f64,
    kind: Kind,
    name: String,
    size: f64,
    place: Option<f64>,
    generation: Option<f64>,
    at_ms: f64,
    shared: f64,
    gone_ms: Option<f64>,
}

#[derive(Deserialize)]
struct SetRow {
    snapshot: String,
    places: String,
}

impl Store {
    /// How full the repository is.
    ///
    /// # Errors
    /// What SQLite or the parser says.
    pub fn stock(&self) -> Result<Stock> {
        if let Some(kept) = &*self.stock.borrow() {
            return Ok(kept.now.clone());
        }
        let stock = self.read_stock()?;
        *self.stock.borrow_mut() = Some(KeptStock { now: stock.clone(), written: stock.clone() });
        Ok(stock)
    }

    fn read_stock(&self) -> Result<Stock> {
        let rows: Vec<JsonRow> = self.sql.exec("SELECT json FROM stock WHERE id = 1", None)?.to_array()?;
        match rows.first() {
            Some(row) => serde_json::from_str(&row.json).map_err(parse_error),
            None => Ok(self.stock_before_the_ledger()),
        }
    }

    /// What a version from before the ledger counted. Goes with [`ebbtide_control::repository::view::adopts`].
    fn stock_before_the_ledger(&self) -> Stock {
        #[derive(Deserialize)]
        struct Row {
            bytes: f64,
        }
        // There is no such table in a younger object.
        let rows = self.sql.exec("SELECT bytes FROM stored WHERE id = 1", None);
        let rows: Vec<Row> = rows.and_then(|rows| rows.to_array()).unwrap_or_default();
        Stock { bytes: rows.first().map_or(0, |row| whole(row.bytes)), ..Stock::default() }
    }

    /// Keeps it; it is written where what is written does not cover it, and ahead of the packs to come.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_stock(&self, stock: &Stock) -> Result<()> {
        let written = self.stock.borrow().as_ref().map(|kept| kept.written.clone());
        let written = match written {
            Some(written) if stock.is_covered_by(&written) => written,
            Some(written) => {
                let next = if stock.data > written.data { stock.ahead() } else { stock.clone() };
                self.write_stock(&next)?;
                next
            }
            None => {
                self.write_stock(stock)?;
                stock.clone()
            }
        };
        *self.stock.borrow_mut() = Some(KeptStock { now: stock.clone(), written });
        Ok(())
    }

    /// What is kept in memory alone, where that is not what is written.
    pub fn unsettled_stock(&self) -> Option<Stock> {
        let kept = self.stock.borrow();
        kept.as_ref().filter(|kept| kept.now != kept.written).map(|kept| kept.now.clone())
    }

    /// Writes it as it is.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn settle_stock(&self, stock: Stock) -> Result<()> {
        self.write_stock(&stock)?;
        *self.stock.borrow_mut() = Some(KeptStock { now: stock.clone(), written: stock });
        Ok(())
    }

    fn write_stock(&self, stock: &Stock) -> Result<()> {
        let json = serde_json::to_string(stock).map_err(parse_error)?;
        let sql = "INSERT OR REPLACE INTO stock (id, json) VALUES (1, ?)";
        self.run(sql, vec![json.into()])
    }

    /// All entries and sets.
    ///
    /// # Errors
    /// What SQLite or the parser says.
    pub fn ledger(&self) -> Result<Rc<Ledger>> {
        if let Some(ledger) = &*self.ledger.borrow() {
            return Ok(Rc::clone(ledger));
        }
        let ledger = Rc::new(self.read_ledger()?);
        *self.ledger.borrow_mut() = Some(Rc::clone(&ledger));
        Ok(ledger)
    }

    fn read_ledger(&self) -> Result<Ledger> {
        let sql =
            "SELECT id, kind, name, size, place, generation, at_ms, shared, gone_ms FROM ledger ORDER BY id";
        let rows: Vec<EntryRow> = self.sql.exec(sql, None)?.to_array()?;
        let sets: Vec<SetRow> = self.sql.exec("SELECT snapshot, places FROM sets", None)?.to_array()?;
        let set = |row: SetRow| Ok((row.snapshot, serde_json::from_str(&row.places).map_err(parse_error)?));
        Ok(Ledger {
            entries: rows.into_iter().map(EntryRow::into_entry).collect(),
            sets: sets.into_iter().map(set).collect::<Result<_>>()?,
        })
    }

    /// Changes the ledger, or a set.
    fn write(&self, sql: &str, values: Vec<SqlStorageValue>) -> Result<()> {
        self.ledger.borrow_mut().take();
        self.run(sql, values)
    }

    /// Enters an object. Repeatable; one that was gone is back, as whose it was.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn enter(&self, object: &NewEntry, now: Timestamp) -> Result<()> {
        self.enter_at(object, now.as_millisecond())
    }

    fn enter_at(&self, object: &NewEntry, at_ms: i64) -> Result<()> {
        let NewEntry { kind, name, size, by } = object;
        let sql = "INSERT INTO ledger (kind, name, size, generation, at_ms, shared) VALUES (?, ?, ?, ?, ?, ?)
                   ON CONFLICT (kind, name) DO UPDATE SET gone_ms = NULL";
        let shared = i64::from(object.is_shared());
        let by = by.map_or(SqlStorageValue::Null, |by| i64::from(by.0).into());
        let values = vec![
            kind.as_str().into(),
            name.as_str().into(),
            integer(*size),
            by,
            SqlStorageValue::Integer(at_ms),
            shared.into(),
        ];
        self.write(sql, values)
    }

    /// Enters an index that takes another's place in all sets. Repeatable.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn replace(&self, old: &str, new: &NewEntry) -> Result<()> {
        let sql = "INSERT INTO ledger (kind, name, size, place, generation, at_ms, shared)
                   SELECT kind, ?, ?, COALESCE(place, id), generation, at_ms, shared FROM ledger
                   WHERE kind = 'index' AND name = ? ON CONFLICT (kind, name) DO UPDATE SET gone_ms = NULL";
        self.write(sql, vec![new.name.as_str().into(), integer(new.size), old.into()])
    }

    /// Whether an object is entered.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn knows(&self, kind: Kind, name: &str) -> Result<bool> {
        let sql = "SELECT name AS json FROM ledger WHERE kind = ? AND name = ?";
        let rows: Vec<JsonRow> =
            self.sql.exec(sql, Some(vec![kind.as_str().into(), name.into()]))?.to_array()?;
        Ok(!rows.is_empty())
    }

    /// Notes that an object is gone; it can come back.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn mark_gone(&self, kind: Kind, name: &str, now: Timestamp) -> Result<()> {
        let sql = "UPDATE ledger SET gone_ms = ? WHERE kind = ? AND name = ? AND gone_ms IS NULL";
        let at = SqlStorageValue::Integer(now.as_millisecond());
        self.write(sql, vec![at, kind.as_str().into(), name.into()])
    }

    /// Removes a lock; says whether there is another of the owner's.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remove_lock(&self, name: &str) -> Result<bool> {
        let kind = Kind::Locks.as_str();
        self.write("DELETE FROM ledger WHERE kind = ? AND name = ?", vec![kind.into(), name.into()])?;
        let sql = "SELECT name AS json FROM ledger WHERE kind = ? LIMIT 1";
        let left: Vec<JsonRow> = self.sql.exec(sql, Some(vec![kind.into()]))?.to_array()?;
        Ok(!left.is_empty())
    }

    /// Makes entries part of every view.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn share(&self, ids: &[u32]) -> Result<()> {
        self.with_list("UPDATE ledger SET shared = 1 WHERE id IN (SELECT value FROM json_each(?))", ids)
    }

    /// Removes entries.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remove(&self, ids: &[u32]) -> Result<()> {
        self.with_list("DELETE FROM ledger WHERE id IN (SELECT value FROM json_each(?))", ids)
    }

    fn with_list(&self, sql: &str, list: &[impl serde::Serialize]) -> Result<()> {
        if list.is_empty() {
            return Ok(());
        }
        let json = serde_json::to_string(list).map_err(parse_error)?;
        self.write(sql, vec![json.into()])
    }

    /// Writes the set of a snapshot, and forgets those of all snapshots but these and that one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_set(&self, snapshot: &str, places: &[u32], others: &[&str]) -> Result<()> {
        self.put_set(snapshot, places)?;
        let kept: Vec<&str> = others.iter().copied().chain([snapshot]).collect();
        self.with_list("DELETE FROM sets WHERE snapshot NOT IN (SELECT value FROM json_each(?))", &kept)
    }

    fn put_set(&self, snapshot: &str, places: &[u32]) -> Result<()> {
        let json = serde_json::to_string(places).map_err(parse_error)?;
        let sql = "INSERT OR REPLACE INTO sets (snapshot, places) VALUES (?, ?)";
        self.write(sql, vec![snapshot.into(), json.into()])
    }

    /// Enters what was there before the ledger; those that are marked as adopted become the set of every snapshot.
    /// Repeatable.
    ///
    /// # Errors
    /// What SQLite or the parser says.
    pub fn adopt(&self, found: &[(Found, bool)], snapshots: &[&str]) -> Result<()> {
        for (found, _) in found {
            self.enter_at(&found.object, found.at_ms)?;
        }
        let proved = found.iter().filter(|(_, proved)| *proved).map(|(found, _)| found.object.name.as_str());
        let proved: BTreeSet<&str> = proved.collect();
        let ledger = self.ledger()?;
        let indexes = ledger.entries.iter().filter(|entry| entry.object.kind == Kind::Index);
        let adopted = indexes.filter(|entry| proved.contains(entry.object.name.as_str()));
        let places: Vec<u32> = adopted.map(|entry| entry.place).collect();
        snapshots.iter().try_for_each(|snapshot| self.put_set(snapshot, &places))
    }
}

impl EntryRow {
    fn into_entry(self) -> Entry {
        let id = number(self.id);
        let by = self.generation.map(|by| Generation(number(by)));
        Entry {
            id,
            object: NewEntry { kind: self.kind, name: self.name, size: whole(self.size), by },
            place: self.place.map_or(id, number),
            at_ms: millis(self.at_ms),
            shared: self.shared != 0.0,
            gone_ms: self.gone_ms.map(millis),
        }
    }
}

fn integer(number: u64) -> SqlStorageValue {
    SqlStorageValue::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bytes and milliseconds are exact in a double
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

fn millis(number: f64) -> i64 {
    i64::try_from(whole(number)).unwrap_or(i64::MAX)
}

fn number(number: f64) -> u32 {
    u32::try_from(whole(number)).unwrap_or(u32::MAX)
}

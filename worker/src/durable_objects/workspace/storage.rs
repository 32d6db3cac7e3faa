//! The object's own storage: the record, its history, the log of its machine, and what was last heard.
//!
//! Everything here is synchronous SQLite, so that load → decide → save has no await in between and no other call can
//! slip in. Rows are few and bounded: the plan pays by rows written.

mod ledger;

use crate::durable_objects::rpc::EventPage;
use ebbtide_api::history::{Event, LogPage};
use ebbtide_api::{Generation, Timestamp};
use ebbtide_control::lifecycle::Note;
use ebbtide_control::record::Record;
use ebbtide_control::repository::view::Ledger;
use ebbtide_control::row_budget::RowBudget;
use ebbtide_control::view::recall::SaidHeartbeat;
use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use worker::{Error, Result, SqlStorage, SqlStorageValue};

/// How many events are kept: a year of daily use.
const EVENTS_KEPT: i64 = 2_000;
/// How many batches of log lines are kept.
const LOG_BATCHES_KEPT: i64 = 200;
/// Bytes of a page of the log.
const LOG_PAGE_BYTES: i64 = 1 << 20;

/// The object's tables.
pub struct Store {
    sql: SqlStorage,
    is_made: Cell<bool>,
    /// What was read of the repository's ledger, until it changes: a backup lists it several times within seconds.
    ledger: RefCell<Option<Rc<Ledger>>>,
    stock: RefCell<Option<ledger::KeptStock>>,
    /// Rows that were written since somebody asked.
    written: Cell<u32>,
}

/// A record with the time for which its alarm is set.
pub struct Stored {
    /// The truth.
    pub record: Record,
    /// When the alarm is due.
    pub alarm_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct RecordRow {
    json: String,
    alarm_ms: Option<f64>,
}

#[derive(Deserialize)]
struct JsonRow {
    json: String,
}

#[derive(Deserialize)]
struct NumberedRow {
    seq: f64,
    json: String,
}

impl NumberedRow {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a row number
    fn seq(&self) -> u64 {
        self.seq as u64
    }
}

impl Store {
    /// Opens the tables. An object that holds nothing stays so until its record is saved: asking about a workspace that
    /// never was leaves nothing behind.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open(sql: SqlStorage) -> Result<Self> {
        let query = "SELECT sql AS json FROM sqlite_master WHERE type = 'table' AND name = 'record'";
        let tables: Vec<JsonRow> = sql.exec(query, None)?.to_array()?;
        let store = Self {
            sql,
            is_made: Cell::new(false),
            ledger: RefCell::new(None),
            stock: RefCell::new(None),
            written: Cell::new(0),
        };
        // A later version may have added some.
        if let Some(record) = tables.first() {
            store.make_tables()?;
            if !record.json.contains("row_budget") {
                store.sql.exec("ALTER TABLE record ADD COLUMN row_budget TEXT", None)?;
            }
        }
        Ok(store)
    }

    fn make_tables(&self) -> Result<()> {
        self.sql.exec(
            "CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL, alarm_ms INTEGER,
                row_budget TEXT);
             CREATE TABLE IF NOT EXISTS heard (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL);
             CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL);
             CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL);",
            None,
        )?;
        self.sql.exec(ledger::TABLES, None)?;
        self.is_made.set(true);
        Ok(())
    }

    /// The record, where the object holds one.
    ///
    /// # Errors
    /// What SQLite or the parser says: a record that cannot be read is never treated as absent.
    pub fn load(&self) -> Result<Option<Stored>> {
        if !self.is_made.get() {
            return Ok(None);
        }
        let rows: Vec<RecordRow> =
            self.sql.exec("SELECT json, alarm_ms FROM record WHERE id = 1", None)?.to_array()?;
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        let record = serde_json::from_str(&row.json).map_err(parse_error)?;
        #[allow(clippy::cast_possible_truncation)] // milliseconds of this millennium are exact in a double
        let alarm_at = row.alarm_ms.and_then(|ms| Timestamp::from_millisecond(ms as i64).ok());
        Ok(Some(Stored { record, alarm_at }))
    }

    /// Writes the record, the time of its alarm and what its machine has spent in one row, which is counted by the caller.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save(&self, record: &Record, alarm_at: Option<Timestamp>, spent: &RowBudget) -> Result<()> {
        if !self.is_made.get() {
            self.make_tables()?;
        }
        let json = serde_json::to_string(record).map_err(parse_error)?;
        let alarm =
            alarm_at.map_or(SqlStorageValue::Null, |at| SqlStorageValue::Integer(at.as_millisecond()));
        let values = vec![json.into(), alarm, serde_json::to_string(spent).map_err(parse_error)?.into()];
        let sql = "INSERT OR REPLACE INTO record (id, json, alarm_ms, row_budget) VALUES (1, ?, ?, ?)";
        self.sql.exec(sql, Some(values)).map(drop)
    }

    /// Writes, and counts the rows as the plan counts them.
    fn run(&self, sql: &str, values: Vec<SqlStorageValue>) -> Result<()> {
        let rows = self.sql.exec(sql, Some(values))?.rows_written();
        self.count_rows(u32::try_from(rows).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Counts rows that were written elsewhere for this workspace.
    pub fn count_rows(&self, rows: u32) {
        self.written.set(self.written.get().saturating_add(rows));
    }

    /// How many rows were written since this was last asked.
    pub fn take_written(&self) -> u32 {
        self.written.replace(0)
    }

    /// What the machine has spent of its rows.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn row_budget(&self) -> Result<RowBudget> {
        let sql = "SELECT row_budget AS json FROM record WHERE id = 1 AND row_budget IS NOT NULL";
        let rows: Vec<JsonRow> = self.sql.exec(sql, None)?.to_array()?;
        // What cannot be read begins anew: no budget stands before the record, its alarm or its end.
        Ok(rows.first().and_then(|row| serde_json::from_str(&row.json).ok()).unwrap_or_default())
    }

    /// Writes it down by itself.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_row_budget(&self, budget: &RowBudget) -> Result<()> {
        let json = serde_json::to_string(budget).map_err(parse_error)?;
        self.run("UPDATE record SET row_budget = ? WHERE id = 1", vec![json.into()])
    }

    /// Appends to the history.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_event(&self, note: &Note, generation: Generation, now: Timestamp) -> Result<()> {
        let (code, because) = (Some(note.code.clone()), note.because.clone());
        let event = Event { seq: 0, at: now, state: note.state, generation, code, because };
        self.append("events", &event, EVENTS_KEPT)
    }

    /// A page of the history, oldest first, and whether there is more in that direction.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn events(&self, page: EventPage, limit: u16) -> Result<(Vec<Event>, bool)> {
        let (from, query) = match page {
            EventPage::After(seq) => (seq, "SELECT seq, json FROM events WHERE seq > ? ORDER BY seq LIMIT ?"),
            EventPage::Before(seq) => {
                (seq, "SELECT seq, json FROM events WHERE seq < ? ORDER BY seq DESC LIMIT ?")
            }
        };
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let one_more = i64::from(limit).saturating_add(1);
        let mut rows: Vec<NumberedRow> =
            self.sql.exec(query, Some(vec![from.into(), one_more.into()]))?.to_array()?;
        let more = rows.len() > usize::from(limit);
        rows.truncate(limit.into());
        if matches!(page, EventPage::Before(_)) {
            rows.reverse();
        }
        let events: Result<Vec<Event>> = rows
            .into_iter()
            .map(|row| {
                let event: Event = serde_json::from_str(&row.json).map_err(parse_error)?;
                Ok(Event { seq: row.seq(), ..event })
            })
            .collect();
        Ok((events?, more))
    }

    /// Appends lines of the machine's log, one row a batch.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_log(&self, lines: &[String]) -> Result<()> {
        if lines.is_empty() { Ok(()) } else { self.append("log", &lines, LOG_BATCHES_KEPT) }
    }

    /// The machine's log, oldest first: its end, or what stands before a row. An object has 128 MB and the log may have
    /// nearly as much, so a page is bounded by its bytes; of a row that is longer than a page, it is the page.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn log(&self, before: Option<u64>) -> Result<LogPage> {
        let number = |seq: u64| i64::try_from(seq.min(EventPage::LAST)).unwrap_or(0);
        let before = number(before.unwrap_or(EventPage::LAST));
        let sql = "SELECT seq, json FROM (
                       SELECT seq, json, bytes, SUM(bytes) OVER (ORDER BY seq DESC) - bytes AS newer
                       FROM (SELECT seq, json, LENGTH(CAST(json AS BLOB)) AS bytes FROM log WHERE seq < ?))
                   WHERE newer = 0 OR newer + bytes <= ? ORDER BY seq";
        let rows: Vec<NumberedRow> =
            self.sql.exec(sql, Some(vec![before.into(), LOG_PAGE_BYTES.into()]))?.to_array()?;
        let Some(first) = rows.first().map(NumberedRow::seq) else {
            return Ok(LogPage { lines: Vec::new(), before: None });
        };
        let batches: Result<Vec<Vec<String>>> =
            rows.iter().map(|row| serde_json::from_str(&row.json).map_err(parse_error)).collect();
        let older = "SELECT '' AS json FROM log WHERE seq < ? LIMIT 1";
        let older: Vec<JsonRow> = self.sql.exec(older, Some(vec![number(first).into()]))?.to_array()?;
        Ok(LogPage { lines: batches?.concat(), before: (!older.is_empty()).then_some(first) })
    }

    /// Forgets the log of the last machine.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn clear_machine(&self) -> Result<()> {
        self.run("DELETE FROM log", vec![])?;
        self.run("DELETE FROM heard", vec![])
    }

    /// The last heartbeat, as far as it was worth a row.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn last_heartbeat(&self) -> Result<Option<SaidHeartbeat>> {
        let rows: Vec<JsonRow> = self.sql.exec("SELECT json FROM heard WHERE id = 1", None)?.to_array()?;
        rows.first().map(|row| serde_json::from_str(&row.json).map_err(parse_error)).transpose()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_last_heartbeat(&self, said: &SaidHeartbeat) -> Result<()> {
        let json = serde_json::to_string(said).map_err(parse_error)?;
        self.run("INSERT OR REPLACE INTO heard (id, json) VALUES (1, ?)", vec![json.into()])
    }

    fn append(&self, table: &'static str, value: &impl serde::Serialize, keep: i64) -> Result<()> {
        let json = serde_json::to_string(value).map_err(parse_error)?;
        self.run(&format!("INSERT INTO {table} (json) VALUES (?)"), vec![json.into()])?;
        let trim = format!("DELETE FROM {table} WHERE seq <= (SELECT MAX(seq) FROM {table}) - ?");
        self.run(&trim, vec![keep.into()])
    }
}

fn parse_error(error: serde_json::Error) -> Error {
    Error::RustError(format!("stored JSON: {error}"))
}

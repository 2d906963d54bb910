//! A table: values by key, that several actors read and write.
//!
//! # Promise
//! - Every operation is whole: no other one is seen half done. [`Swap`] writes only over the value that its sender has
//!   seen, so two writers cannot overwrite each other unknowingly.
//! - What survives a restart: the entries it was started with. What does not: everything written since.
//! - [`Get`], [`Put`] and [`Delete`] do no harm when handled twice, so after a crash they are tried again. A [`Swap`]
//!   in hand at a crash ends with `Died` and is not: its sender looks at the value and decides.
//! - It never holds more than its limits: a write beyond them changes nothing and is answered with [`Written::Full`].

use std::collections::BTreeMap;

use watertight::prelude::*;

/// The value of a key, if it has one.
#[message(reply = Option<String>, idempotent)]
pub struct Get {
    /// Whose value.
    pub key: String,
}

/// Gives a key a value, whatever it had.
#[message(reply = Written, idempotent)]
pub struct Put {
    /// Whose value.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Compare-and-swap: gives a key the value `new` if it has the value `expected`. `None` is no value at all, so this
/// also creates a key only if it is new, and deletes one only if nobody has changed it.
#[message(reply = Written)]
pub struct Swap {
    /// Whose value.
    pub key: String,
    /// What it must be.
    pub expected: Option<String>,
    /// What it becomes.
    pub new: Option<String>,
}

/// Takes a key's value away, and answers whether it had one.
#[message(reply = bool, idempotent)]
pub struct Delete {
    /// Whose value.
    pub key: String,
}

/// What has become of a write.
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Done.
    Yes,
    /// Refused: the value was not the expected one, but this.
    Changed(Option<String>),
    /// Refused: the table would be larger than it may.
    Full,
}

/// What a table is started with, at every incarnation again.
#[data]
#[derive(Clone, Debug)]
pub struct Setup {
    /// The most entries.
    pub most_entries: u32,
    /// The most bytes of all keys and values together.
    pub most_bytes: u64,
    /// What it holds at first.
    pub entries: BTreeMap<String, String>,
}

impl Default for Setup {
    /// Empty; at most 10,000 entries and 16 MiB: what fits one process with room to spare.
    fn default() -> Self {
        Setup { most_entries: 10_000, most_bytes: 16 << 20, entries: BTreeMap::new() }
    }
}

/// Values by key; see the [module](self).
pub struct Table {
    setup: Setup,
    entries: BTreeMap<String, String>,
    bytes: u64,
}

impl Table {
    /// Sets or, with `None`, takes away; `false` if the limits forbid it.
    fn set(&mut self, key: String, value: Option<String>) -> bool {
        let length = |text: &String| text.len() as u64;
        let old = self.entries.get(&key).map_or(0, |old| length(&key) + length(old));
        let new = value.as_ref().map_or(0, |value| length(&key) + length(value));
        let bytes = self.bytes - old + new;
        let grows = value.is_some() && !self.entries.contains_key(&key);
        if value.is_some()
            && (bytes > self.setup.most_bytes
                || grows && self.entries.len() >= self.setup.most_entries as usize)
        {
            return false;
        }
        self.bytes = bytes;
        match value {
            Some(value) => self.entries.insert(key, value),
            None => self.entries.remove(&key),
        };
        true
    }
}

impl Actor for Table {
    type Args = Setup;
    type Messages = (Get, Put, Swap, Delete);

    async fn start(mut setup: Setup, _: &mut Context<Self>) -> Result<Self> {
        let first = std::mem::take(&mut setup.entries);
        let mut table = Table { setup, entries: BTreeMap::new(), bytes: 0 };
        for (key, value) in first {
            if !table.set(key, Some(value)) {
                return Err(Error::new("its first entries are more than the table may hold"));
            }
        }
        Ok(table)
    }
}

impl Handler<Get> for Table {
    async fn handle(&mut self, Get { key }: Get, _: &mut Context<Self>) -> Result<Option<String>> {
        Ok(self.entries.get(&key).cloned())
    }
}

impl Handler<Put> for Table {
    async fn handle(&mut self, Put { key, value }: Put, _: &mut Context<Self>) -> Result<Written> {
        Ok(if self.set(key, Some(value)) { Written::Yes } else { Written::Full })
    }
}

impl Handler<Swap> for Table {
    async fn handle(&mut self, swap: Swap, _: &mut Context<Self>) -> Result<Written> {
        let found = self.entries.get(&swap.key);
        if found != swap.expected.as_ref() {
            return Ok(Written::Changed(found.cloned()));
        }
        Ok(if self.set(swap.key, swap.new) { Written::Yes } else { Written::Full })
    }
}

impl Handler<Delete> for Table {
    async fn handle(&mut self, Delete { key }: Delete, _: &mut Context<Self>) -> Result<bool> {
        let had = self.entries.contains_key(&key);
        self.set(key, None);
        Ok(had)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use watertight::{Exit, SpawnError};

    use super::*;

    fn get(key: &str) -> Get {
        Get { key: key.into() }
    }

    fn put(key: &str, value: &str) -> Put {
        Put { key: key.into(), value: value.into() }
    }

    fn swap(key: &str, expected: Option<&str>, new: Option<&str>) -> Swap {
        Swap { key: key.into(), expected: expected.map(Into::into), new: new.map(Into::into) }
    }

    fn delete(key: &str) -> Delete {
        Delete { key: key.into() }
    }

    #[test]
    fn what_is_put_is_got_until_it_is_deleted() {
        watertight::test(async |sys| {
            let table = sys.spawn::<Table>(Setup::default()).await?;
            assert_eq!(table.ask(get("a")).await?, None);
            assert_eq!(table.ask(put("a", "1")).await?, Written::Yes);
            assert_eq!(table.ask(put("a", "2")).await?, Written::Yes);
            assert_eq!(table.ask(get("a")).await?.as_deref(), Some("2"));
            assert!(table.ask(delete("a")).await?);
            assert!(!table.ask(delete("a")).await?);
            assert_eq!(table.ask(get("a")).await?, None);
            Ok(())
        });
    }

    #[test]
    fn a_swap_writes_only_over_what_was_expected() {
        watertight::test(async |sys| {
            let table = sys.spawn::<Table>(Setup::default()).await?;
            assert_eq!(table.ask(swap("a", None, Some("1"))).await?, Written::Yes);
            assert_eq!(table.ask(swap("a", None, Some("2"))).await?, Written::Changed(Some("1".into())));
            assert_eq!(table.ask(swap("a", Some("1"), Some("2"))).await?, Written::Yes);
            assert_eq!(table.ask(swap("a", Some("2"), None)).await?, Written::Yes);
            assert_eq!(table.ask(swap("a", Some("2"), Some("3"))).await?, Written::Changed(None));
            assert_eq!(table.ask(get("a")).await?, None);
            Ok(())
        });
    }

    #[test]
    fn the_limits_hold_to_the_byte_and_a_refused_write_changes_nothing() {
        watertight::test(async |sys| {
            let setup = Setup { most_entries: 2, most_bytes: 8, ..Setup::default() };
            let table = sys.spawn::<Table>(setup).await?;
            assert_eq!(table.ask(put("a", "123")).await?, Written::Yes);
            assert_eq!(table.ask(put("b", "1234")).await?, Written::Full, "9 bytes");
            assert_eq!(table.ask(put("b", "123")).await?, Written::Yes, "8 bytes");
            assert_eq!(table.ask(put("c", "")).await?, Written::Full, "a third entry");
            assert_eq!(table.ask(swap("a", Some("123"), Some("1234"))).await?, Written::Full);
            assert_eq!(table.ask(get("a")).await?.as_deref(), Some("123"));
            // Room that is given up can be used again.
            assert_eq!(table.ask(put("a", "")).await?, Written::Yes);
            assert_eq!(table.ask(put("b", "123456")).await?, Written::Yes);
            assert!(table.ask(delete("a")).await?);
            assert_eq!(table.ask(put("c", "")).await?, Written::Yes);
            Ok(())
        });
    }

    #[test]
    fn after_a_crash_the_first_entries_are_there_again_and_later_ones_are_not() {
        watertight::test(async |sys| {
            let setup = Setup { entries: [("a".into(), "1".into())].into(), ..Setup::default() };
            let table = sys.spawn::<Table>(setup).await?;
            table.ask(put("a", "2")).await?;
            table.ask(put("b", "2")).await?;
            let mut events = sys.events().await?;
            sys.kill(&table).await?;
            events.started(&table, 2).await?;
            assert_eq!(table.ask(get("a")).await?.as_deref(), Some("1"));
            assert_eq!(table.ask(get("b")).await?, None);
            Ok(())
        });
    }

    #[test]
    fn first_entries_beyond_the_limits_are_refused_at_the_start() {
        watertight::test(async |sys| {
            let entries = [("a".into(), "1".into())].into();
            let setup = Setup { most_entries: 0, entries, ..Setup::default() };
            match sys.spawn::<Table>(setup).await.unwrap_err() {
                SpawnError::Start(report) => assert!(matches!(report.exit, Exit::StartFailed(_)), "{report}"),
                other => panic!("{other:?}"),
            }
            Ok(())
        });
    }
}

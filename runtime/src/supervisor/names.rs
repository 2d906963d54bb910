//! Who has which name; pure.

use std::collections::HashMap;

use crate::wire::ids::ActorId;

/// Names that an actor may have beside its first: one for each part that it plays. Whoever needs more wants an actor
/// that keeps a table.
pub(super) const MORE_NAMES: usize = 16;

/// Every name in use. An actor's names are its own until it ends for good.
#[derive(Debug, Default)]
pub(super) struct Names {
    holders: HashMap<String, ActorId>,
    /// The first one came with the spec.
    of: HashMap<ActorId, Vec<String>>,
}

/// Why a name was not given or not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is this actor's.
    Held(ActorId),
    /// The actor has as many as it may.
    TooMany,
    /// Nobody has it.
    Unknown,
    /// It came with the spec.
    First,
}

impl Names {
    /// Who has the name.
    pub(super) fn holder(&self, name: &str) -> Option<ActorId> {
        self.holders.get(name).copied()
    }

    /// The actor's names, the first one first.
    pub(super) fn of(&self, actor: ActorId) -> &[String] {
        self.of.get(&actor).map_or(&[], Vec::as_slice)
    }

    /// Gives an actor a name; its first one is the one that stays. Giving a name again to who has it changes nothing.
    pub(super) fn give(&mut self, name: &str, actor: ActorId) -> Result<(), Refused> {
        match self.holder(name) {
            Some(holder) if holder == actor => return Ok(()),
            Some(holder) => return Err(Refused::Held(holder)),
            None => {}
        }
        let names = self.of.entry(actor).or_default();
        if names.len() > MORE_NAMES {
            return Err(Refused::TooMany);
        }
        names.push(name.to_owned());
        self.holders.insert(name.to_owned(), actor);
        Ok(())
    }

    /// Takes a name back for `by`, or for whoever has it.
    pub(super) fn take_back(&mut self, name: &str, by: Option<ActorId>) -> Result<(), Refused> {
        let holder = self.holder(name).ok_or(Refused::Unknown)?;
        if by.is_some_and(|by| by != holder) {
            return Err(Refused::Held(holder));
        }
        let Some(names) = self.of.get_mut(&holder) else { return Err(Refused::Unknown) };
        if names.first().is_some_and(|first| first == name) {
            return Err(Refused::First);
        }
        names.retain(|other| other != name);
        self.holders.remove(name);
        Ok(())
    }

    /// The actor has ended for good: all its names are free.
    pub(super) fn free(&mut self, actor: ActorId) {
        for name in self.of.remove(&actor).unwrap_or_default() {
            self.holders.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ActorId = ActorId(1);
    const TWO: ActorId = ActorId(2);

    #[test]
    fn a_name_has_one_holder_and_is_free_again_when_that_has_ended() {
        let mut names = Names::default();
        assert_eq!(names.give("one", ONE), Ok(()));
        assert_eq!(names.give("two", TWO), Ok(()));
        assert_eq!(names.give("till", ONE), Ok(()));
        assert_eq!(names.give("till", ONE), Ok(()), "its next incarnation says it again");
        assert_eq!(names.give("till", TWO), Err(Refused::Held(ONE)));
        assert_eq!(names.of(ONE), ["one", "till"]);
        names.free(ONE);
        assert_eq!((names.holder("one"), names.holder("till"), names.of(ONE).len()), (None, None, 0));
        assert_eq!(names.give("till", TWO), Ok(()));
        // The second end of the same actor takes nothing from the new holder.
        names.free(ONE);
        assert_eq!(names.holder("till"), Some(TWO));
    }

    #[test]
    fn a_name_is_taken_back_by_its_holder_and_the_first_one_stays() {
        let mut names = Names::default();
        names.give("one", ONE).unwrap();
        names.give("till", ONE).unwrap();
        assert_eq!(names.take_back("nobody", None), Err(Refused::Unknown));
        assert_eq!(names.take_back("till", Some(TWO)), Err(Refused::Held(ONE)));
        assert_eq!(names.take_back("one", Some(ONE)), Err(Refused::First));
        assert_eq!(names.take_back("one", None), Err(Refused::First));
        assert_eq!(names.take_back("till", Some(ONE)), Ok(()));
        assert_eq!(names.give("till", TWO), Ok(()));
        assert_eq!(names.give("desk", TWO), Ok(()));
        assert_eq!(names.take_back("desk", None), Ok(()));
        assert_eq!((names.holder("desk"), names.holder("one")), (None, Some(ONE)));
    }

    #[test]
    fn an_actor_has_no_more_names_than_it_may() {
        let mut names = Names::default();
        for n in 0..=MORE_NAMES {
            assert_eq!(names.give(&format!("name {n}"), ONE), Ok(()));
        }
        assert_eq!(names.give("one more", ONE), Err(Refused::TooMany));
        assert_eq!(names.holder("one more"), None);
        assert_eq!(names.give("name 3", ONE), Ok(()), "it has that one");
        names.take_back("name 3", None).unwrap();
        assert_eq!(names.give("one more", ONE), Ok(()));
    }
}

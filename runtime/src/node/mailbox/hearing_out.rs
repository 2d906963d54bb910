//! Hearing out a dead sender: all that it had sent is handled before anything of its next life, and before the news of
//! its end.

use super::Mailbox;
use crate::wire::control::ToSupervisor;
use crate::wire::ids::LinkId;

impl Mailbox {
    pub(super) fn close(&mut self, link: LinkId) {
        let Some(&place) = self.by_id.get(&link) else {
            // It never came up here: there is nothing to drain.
            self.node.say(&ToSupervisor::LinkDrained { link });
            return;
        };
        let system = self.node.identity.system;
        let follows = self.follows_a_closing_one(place);
        let Some(Some(entry)) = self.links.get_mut(place) else { return };
        entry.link.closing = true;
        if let Err(error) = entry.link.read_rest(system) {
            self.refuse(place, &error);
            return;
        }
        if entry.link.answers_only {
            self.take_answers(place);
            return;
        }
        if !entry.loaded && entry.link.inbox.buffered() == 0 && !follows {
            self.release(place);
            return;
        }
        // Its messages are handled first, perhaps the last one right now: released when there are no more.
        entry.loaded = true;
        self.loaded.retain(|&other| other != place);
        // Behind other dead ones: among them may be an earlier life of the same sender.
        let closing = |&other: &usize| matches!(self.links.get(other), Some(Some(p)) if p.link.closing);
        let behind = self.loaded.iter().take_while(|other| closing(other)).count();
        self.loaded.insert(behind, place);
    }

    /// Whether an earlier life of the same sender has not been heard out: then this one, though it said nothing, has
    /// its turn behind it, and with it what is to be seen behind both.
    fn follows_a_closing_one(&self, place: usize) -> bool {
        let Some(Some(this)) = self.links.get(place) else { return false };
        let mut loaded = self.loaded.iter().filter_map(|&other| self.links.get(other)?.as_ref());
        loaded.any(|other| other.link.closing && other.link.sender == this.link.sender)
    }

    /// Everything that a dead sender had sent is handled.
    pub(super) fn release(&mut self, place: usize) {
        if let Some(entry) = self.links.get_mut(place).and_then(Option::take) {
            self.by_id.remove(&entry.link.id);
            self.notices.extend(entry.notices);
            self.node.holder_died(entry.link.sender);
            self.node.say(&ToSupervisor::LinkDrained { link: entry.link.id });
        }
    }
}

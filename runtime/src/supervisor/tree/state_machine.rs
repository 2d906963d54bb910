//! One group beside the most naive supervisor that there can be: a list of children that run or do not.
//!
//! The [reference](super::reference) of the longer random tests knows everything that OTP's supervisor does. This one knows
//! so little that it is right at a glance; proptest finds the sequence and makes it small.

use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::world::{World, actor, flags, group};
use super::{End, Event, NodeId, Plan, ROOT, Rules};
use crate::group::Strategy as Restarting;
use crate::spec::{Intensity, Restart};

const PERIOD: Duration = Duration::from_secs(60);

/// A child as its supervisor sees it.
#[derive(Clone, Debug)]
struct Child {
    restart: Restart,
    runs: bool,
    lives: u64,
}

/// The naive supervisor.
#[derive(Clone, Debug)]
struct Naive {
    strategy: Restarting,
    allowed: u32,
    counted: u32,
    /// `None`: its spec is forgotten.
    children: Vec<Option<Child>>,
    has_ended: bool,
}

#[derive(Clone, Debug)]
enum Happens {
    Crash(usize),
    End(usize),
    Terminate(usize),
    Restart(usize),
    Delete(usize),
    /// Long enough for all restarts to be forgiven.
    Quiet,
}

impl Naive {
    fn ended(&mut self, at: usize, normal: bool) {
        let Some(Some(child)) =
            self.children.get_mut(at).filter(|child| child.as_ref().is_some_and(|c| c.runs))
        else {
            return;
        };
        child.runs = false;
        match (child.restart, normal) {
            (Restart::Temporary, _) => self.children[at] = None,
            (Restart::Transient, true) => {}
            _ if self.counted == self.allowed => {
                self.has_ended = true;
                self.children.fill(None);
            }
            _ => {
                self.counted += 1;
                let again = match self.strategy {
                    Restarting::OneForOne => at..=at,
                    Restarting::OneForAll => 0..=self.children.len() - 1,
                    Restarting::RestForOne => at..=self.children.len() - 1,
                };
                for child in &mut self.children[again] {
                    *child = child.take().filter(|child| child.restart != Restart::Temporary);
                    start(child);
                }
            }
        }
    }
}

fn start(child: &mut Option<Child>) {
    if let Some(child) = child {
        child.runs = true;
        child.lives += 1;
    }
}

impl ReferenceStateMachine for Naive {
    type State = Naive;
    type Transition = Happens;

    fn init_state() -> BoxedStrategy<Naive> {
        let restart = prop_oneof![
            3 => Just(Restart::Permanent),
            1 => Just(Restart::Transient),
            1 => Just(Restart::Temporary)
        ];
        let child = restart.prop_map(|restart| Some(Child { restart, runs: true, lives: 1 }));
        let strategy = prop_oneof![
            Just(Restarting::OneForOne),
            Just(Restarting::OneForAll),
            Just(Restarting::RestForOne)
        ];
        (strategy, 0..4_u32, prop::collection::vec(child, 1..6))
            .prop_map(|(strategy, allowed, children)| Naive {
                strategy,
                allowed,
                counted: 0,
                children,
                has_ended: false,
            })
            .boxed()
    }

    fn transitions(state: &Naive) -> BoxedStrategy<Happens> {
        let at = 0..state.children.len();
        prop_oneof![
            4 => at.clone().prop_map(Happens::Crash),
            2 => at.clone().prop_map(Happens::End),
            1 => at.clone().prop_map(Happens::Terminate),
            1 => at.clone().prop_map(Happens::Restart),
            1 => at.prop_map(Happens::Delete),
            1 => Just(Happens::Quiet),
        ]
        .boxed()
    }

    fn apply(mut state: Naive, happens: &Happens) -> Naive {
        match *happens {
            Happens::Crash(at) => state.ended(at, false),
            Happens::End(at) => state.ended(at, true),
            Happens::Terminate(at) => {
                let child = &mut state.children[at];
                *child = child.take().filter(|child| child.restart != Restart::Temporary);
                if let Some(child) = child {
                    child.runs = false;
                }
            }
            Happens::Restart(at) => {
                if state.children[at].as_ref().is_some_and(|child| !child.runs) {
                    start(&mut state.children[at]);
                }
            }
            Happens::Delete(at) => {
                state.children[at] = state.children[at].take().filter(|child| child.runs);
            }
            Happens::Quiet => state.counted = 0,
        }
        state
    }
}

/// The tree, with one group in it.
struct One {
    world: World,
    group: NodeId,
    children: Vec<NodeId>,
}

impl StateMachineTest for One {
    type SystemUnderTest = One;
    type Reference = Naive;

    fn init_test(state: &Naive) -> One {
        let mut world = World::new(2, false);
        let number = world.number();
        let children: Vec<NodeId> = state.children.iter().map(|_| world.number()).collect();
        let plans = children.iter().zip(state.children.iter().flatten()).map(|(&id, child)| {
            let plan = actor(id);
            Plan { rules: Rules { restart: child.restart, ..plan.rules }, ..plan }
        });
        let intensity = Intensity { restarts: state.allowed, within: PERIOD };
        let plan = group(number, super::Flags { intensity, ..flags(state.strategy) }, plans.collect());
        world.start(ROOT, plan);
        world.settle();
        One { world, group: number, children }
    }

    fn apply(mut one: One, state: &Naive, happens: Happens) -> One {
        let id = |at: usize| one.children[at];
        match happens {
            Happens::Crash(at) if one.world.processes.contains_key(&id(at)) => {
                one.world.step(Event::Exited(id(at), End::Abnormal));
            }
            Happens::End(at) if one.world.processes.contains_key(&id(at)) => {
                one.world.step(Event::Exited(id(at), End::Normal));
            }
            Happens::Crash(_) | Happens::End(_) => {}
            Happens::Terminate(at) => {
                one.world.terminate(id(at));
            }
            Happens::Restart(at) => {
                one.world.restart(id(at));
            }
            Happens::Delete(at) => {
                one.world.delete(id(at));
            }
            Happens::Quiet => one.world.advance(2 * PERIOD),
        }
        one.world.settle();
        assert_eq!(one.world.is_known(one.group), !state.has_ended, "the group is there");
        for (&id, child) in one.children.iter().zip(&state.children) {
            assert_eq!(one.world.is_known(id), child.is_some(), "{id} is kept");
            if let Some(child) = child {
                assert_eq!(one.world.is_up(id), child.runs, "{id} runs");
                assert_eq!(one.world.launched(id), child.lives, "lives of {id}");
            }
        }
        one
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_group_is_what_the_most_naive_supervisor_would_make_of_it(sequential 1..20 => One);
}

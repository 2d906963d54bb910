//! What may happen on a link, in any order.

use proptest::prelude::*;

use crate::delivery::outbox::Window;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Append { body: usize, chain: usize, idempotent: bool, ask: bool, fails: bool },
    Window(Window),
    Write(usize),
    Read(usize),
    Scan,
    Start,
    Reply,
    Finish,
    Acknowledge,
    Flush(usize),
    HearAnswers(usize),
    LoseLink { then_write: usize, then_acknowledge: bool },
    Die,
    DieUntold,
    Gone,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append = (0..400_usize, 0..3_usize, any::<bool>(), any::<bool>(), 0..10).prop_map(
        |(body, chain, idempotent, ask, n)| Step::Append { body, chain, idempotent, ask, fails: n == 0 },
    );
    let window =
        (0..20_u32, 0..3000_u32).prop_map(|(messages, bytes)| Step::Window(Window { messages, bytes }));
    let step = prop_oneof![
        12 => append,
        1 => window,
        10 => (0..900_usize).prop_map(Step::Write),
        10 => (0..900_usize).prop_map(Step::Read),
        2 => Just(Step::Scan),
        12 => Just(Step::Start),
        8 => Just(Step::Reply),
        12 => Just(Step::Finish),
        6 => Just(Step::Acknowledge),
        8 => (0..90_usize).prop_map(Step::Flush),
        8 => (0..90_usize).prop_map(Step::HearAnswers),
        2 => (0..600_usize, any::<bool>())
            .prop_map(|(then_write, then_acknowledge)| Step::LoseLink { then_write, then_acknowledge }),
        4 => Just(Step::Die),
        1 => Just(Step::DieUntold),
        1 => Just(Step::Gone),
    ];
    prop::collection::vec(step, 0..300)
}

//! Every target, by name: those of the runtime, and the handles of the ready-made actors. A part of the programs that
//! fuzz, and of the ordinary test that runs their corpora.

use std::any::type_name;
use std::fmt::Debug;

use watertight::MessageKey;
use watertight::fuzzing::{Seeds, TARGETS, Target, target, written};
use watertight::internal::{Deserialize, Schema, Serialize, decode};
use watertight_actors::lock::Lock;
use watertight_actors::queue::Queue;
use watertight_actors::value::Value;

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Target> {
    TARGETS.iter().chain([&SHARED_HANDLES])
}

/// Runs one of them.
///
/// # Panics
/// When a promise does not hold, or there is no such target.
pub fn judge(name: &str, input: &[u8]) {
    let Some(target) = all().find(|target| target.name == name) else { panic!("there is no target {name}") };
    target.judge(input, |run| allocation_counter::measure(run).bytes_max);
}

static SHARED_HANDLES: Target = target("shared_handles", shared_handles, shared_handle_seeds, (16 << 10, 64));

/// First which handle, then its bytes.
fn shared_handles(input: &[u8]) {
    let Some((which, body)) = input.split_first() else { return };
    match which % 4 {
        0 => is_read_back::<Lock>(body),
        1 => is_read_back::<Queue<u64>>(body),
        2 => {
            is_read_back::<Value<i64>>(body);
            let other = decode::<Value<String>>(body);
            assert!(
                decode::<Value<i64>>(body).is_err() || other.is_err(),
                "a handle is for one type of values"
            );
        }
        _ => is_read_back::<Vec<Queue<String>>>(body),
    }
}

fn is_read_back<T: Serialize + for<'a> Deserialize<'a> + Schema + PartialEq + Debug>(body: &[u8]) {
    let Ok(handle) = decode::<T>(body) else { return };
    let written = written(&handle);
    assert!(written.len() <= body.len());
    assert_eq!(decode::<T>(&written), Ok(handle));
}

fn shared_handle_seeds() -> Seeds {
    let address = (1_u8, 7_u64, 3_u64, 11_u128, 9_u64);
    let seed = |which: u8, body: Vec<u8>| [vec![which], body].concat();
    let typed = |mark: u64| written(&(address, mark));
    vec![
        ("lock", seed(0, written(&address))),
        ("lock-cut-off", seed(0, written(&(1_u8, 7_u64)))),
        ("queue", seed(1, typed(MessageKey::named(type_name::<u64>()).0))),
        ("queue-of-other-values", seed(1, typed(1))),
        ("value", seed(2, typed(MessageKey::named(type_name::<i64>()).0))),
        ("value-of-other-values", seed(2, typed(MessageKey::named(type_name::<String>()).0))),
        ("queues", seed(3, written(&vec![(address, MessageKey::named(type_name::<String>()).0); 3]))),
        ("queues-claim-4-gi", seed(3, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 1, 7])),
    ]
}

//! Records of a channel and of a byte stream, sent by whoever shares an end of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Choices, Seeds};
use crate::channel::ChannelError;
use crate::wire::codec;
use crate::wire::passing::{self, Beside};
use crate::wire::records::{RECORD_LIMIT, Records};
use crate::{ByteReader, Receiver};

type Value = (u64, Vec<String>, Option<bool>);

/// Records, each behind its kind, what stands beside it, and its length. The first byte says who reads.
pub(super) fn run(input: &[u8]) {
    let mut choices = Choices(input);
    let bytes = choices.byte() & 1 == 1;
    let (Ok((sender, receiver)), mut sent) = (Records::pair(), Vec::new()) else { panic!("no sockets") };
    while !choices.0.is_empty() && sent.len() < 16 {
        let kind = choices.byte() % 5;
        let beside = beside(choices.byte());
        let length = usize::from(choices.byte());
        // A length of 255 stands for one byte more than a record may have.
        let record =
            if length == 255 { vec![kind; RECORD_LIMIT + 1] } else { choices.bytes(length).to_vec() };
        if sender.send_now(kind, &record, &beside).is_err() {
            break;
        }
        sent.push((kind, record, beside.is_empty()));
    }
    drop(sender);
    if bytes { stream(receiver, &sent) } else { channel(&receiver, &sent) }
}

fn channel(receiver: &Records, sent: &[(u8, Vec<u8>, bool)]) {
    let place = vec![duplicate(receiver)];
    let (Ok(receiver), _) = passing::offering(place, || codec::decode_nested::<Receiver<Value>>(&[0])) else {
        panic!("it is the end of a channel")
    };
    for (kind, record, alone) in sent {
        let expected =
            codec::decode_nested::<Value>(record).ok().filter(|_| *kind == 0 && record.len() <= RECORD_LIMIT);
        match receiver.try_recv() {
            Ok(Some(value)) => {
                // What came in shared memory stands there, and not in the record.
                assert!(expected.as_ref() == Some(&value) || (*kind == 1 && !alone), "{value:?}");
            }
            Ok(None) => panic!("the end came before what was sent"),
            Err(ChannelError::TimedOut) => panic!("what was sent is not there"),
            Err(_) => assert_eq!(expected, None, "a value was refused"),
        }
    }
    assert!(matches!(receiver.try_recv(), Ok(None)), "then comes the end");
}

fn stream(receiver: Records, sent: &[(u8, Vec<u8>, bool)]) {
    use std::io::Read;
    let place = vec![duplicate(&receiver)];
    let body = [0, 0, 0];
    let (Ok(mut reader), _) = passing::offering(place, || codec::decode_nested::<ByteReader>(&body)) else {
        panic!("it is the end of a byte stream")
    };
    drop(receiver);
    let mut read = Vec::new();
    // It may end with an error, but it ends, and gives out nothing that was not sent.
    let _ = (&mut reader).take(1 << 20).read_to_end(&mut read);
    let all: Vec<u8> = sent.iter().flat_map(|(_, record, _)| record.clone()).collect();
    assert!(read.len() <= all.len());
}

fn duplicate(records: &Records) -> OwnedFd {
    match records.descriptor().try_clone() {
        Ok(descriptor) => descriptor,
        Err(error) => panic!("{error}"),
    }
}

fn beside(kind: u8) -> Beside {
    match kind {
        200.. => match std::fs::File::open("/dev/null") {
            Ok(file) => vec![Arc::new(file.into())],
            Err(error) => panic!("{error}"),
        },
        _ => Beside::new(),
    }
}

pub(super) fn seeds() -> Seeds {
    let value: Value = (7, vec!["a".into(), "b".into()], Some(true));
    let Ok(body) = codec::encode(&value, 1 << 10) else { panic!("it encodes") };
    let record = |kind: u8, beside: u8, body: &[u8]| {
        [&[kind, beside, u8::try_from(body.len()).unwrap_or(254)], body].concat()
    };
    let seed = |who: u8, records: &[Vec<u8>]| [vec![who], records.concat()].concat();
    vec![
        ("values", seed(0, &[record(0, 0, &body), record(0, 0, &body)])),
        ("no-value-then-one", seed(0, &[record(0, 0, &[9, 9, 9]), record(0, 0, &body)])),
        ("left-over", seed(0, &[record(0, 0, &[&body[..], &[0]].concat())])),
        ("large-without-memory", seed(0, &[record(1, 0, &body)])),
        ("large-of-a-device", seed(0, &[record(1, 200, &body)])),
        ("descriptor-that-is-not-wanted", seed(0, &[record(0, 200, &body)])),
        ("too-long", seed(0, &[vec![0, 0, 255], record(0, 0, &body)])),
        ("other-kinds", seed(0, &[record(2, 0, &body), record(3, 0, &body), record(4, 0, &body)])),
        ("bytes", seed(1, &[record(2, 0, b"bytes"), record(2, 0, b"more"), record(3, 0, b"")])),
        ("bytes-after-the-end", seed(1, &[record(3, 0, b""), record(2, 0, b"more")])),
        ("values-in-a-stream", seed(1, &[record(0, 0, &body), record(2, 0, b"more")])),
        ("empty", seed(1, &[record(2, 0, b""), record(0, 0, b"")])),
    ]
}

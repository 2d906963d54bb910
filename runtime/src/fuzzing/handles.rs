//! Values that lead somewhere: addresses, rights to reply, shared memory and ends of channels, from any bytes and with
//! any descriptors beside them.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Serialize, de::DeserializeOwned};

use super::{Choices, Seeds};
use crate::actor::{Actor, Context};
use crate::wire::codec;
use crate::wire::ids::RawAddress;
use crate::wire::passing;
use crate::wire::records::Records;
use crate::{
    Address, Array, ArrayPart, Blob, ByteReader, ByteWriter, Encoded, MessageKey, Receiver, Recipient,
    ReplyTo, Sender,
};

struct Nobody;

impl Actor for Nobody {
    type Args = ();
    type Messages = ();
    async fn start((): (), _: &mut Context<Self>) -> crate::Result<Self> {
        Ok(Nobody)
    }
}

/// First which type, then what each of four descriptors is, then the body.
pub(super) fn run(input: &[u8]) {
    let mut choices = Choices(input);
    let which = choices.byte() % 12;
    let kinds = choices.byte();
    let body = choices.0;
    match which {
        0 => address(body),
        1 => {
            // It may have a form that it would not be written in, so it is compared as it is read.
            if let Some(reply) = read::<ReplyTo<u64>>(body, kinds) {
                assert!(format!("{reply:?}").starts_with("ReplyTo"));
                reply.send(7);
            }
        }
        2 => blob(body, kinds),
        3 => {
            if let Some(array) = read::<Array<u64>>(body, kinds) {
                assert!(array.len() <= MEMORY / 8);
                is_written_again(&array);
            }
        }
        4 => {
            if let Some(part) = read::<ArrayPart<u64>>(body, kinds) {
                assert!(part.len() <= MEMORY / 8);
                is_written_again(&part);
            }
        }
        5 => drop(read::<Sender<u64>>(body, kinds).inspect(is_written_again)),
        6 => {
            if let Some(receiver) = read::<Receiver<u64>>(body, kinds) {
                assert!(matches!(receiver.try_recv(), Ok(None)), "nobody can send anything");
            }
        }
        7 => drop(read::<ByteWriter>(body, kinds).inspect(is_written_again)),
        8 => drop(read::<ByteReader>(body, kinds).inspect(is_written_again)),
        9 => {
            if let Some(encoded) = read::<Encoded>(body, kinds) {
                assert!(encoded.len() <= body.len());
                is_written_again(&encoded);
            }
        }
        10 => drop(read::<MessageKey>(body, kinds).inspect(is_written_again)),
        _ => drop(read::<(Blob, Array<u8>, Sender<u8>, Vec<Blob>)>(body, kinds)),
    }
}

fn address(body: &[u8]) {
    let raw = codec::decode_nested::<RawAddress>(body);
    let address = codec::decode_nested::<Address<Nobody>>(body);
    assert_eq!(raw.is_ok(), address.is_ok());
    let (Ok(raw), Ok(address)) = (raw, address) else { return };
    assert_eq!(address.actor(), raw.actor);
    assert!(address.link().is_err(), "it leads to no system of this process");
    let written = codec::encode(&address, 50);
    assert!(written.is_ok_and(|written| codec::decode::<RawAddress>(&written) == Ok(raw)));
    let recipient = codec::decode_nested::<Recipient<crate::Down>>(body);
    assert_eq!(recipient.map(|recipient| recipient.actor()), Ok(raw.actor));
}

fn blob(body: &[u8], kinds: u8) {
    let Some(blob) = read::<Blob>(body, kinds) else { return };
    assert!(blob.len() <= MEMORY.max(body.len()));
    // Every byte of it is there: a lie about its length would end this process.
    let sum = blob.iter().fold(0_u64, |sum, byte| sum + u64::from(*byte));
    assert!(sum <= blob.len() as u64 * 255);
    is_written_again(&blob);
}

fn read<T: DeserializeOwned>(body: &[u8], kinds: u8) -> Option<T> {
    let descriptors = (0..4).map(|place| descriptor(kinds >> (2 * place) & 3)).collect();
    passing::offering(descriptors, || codec::decode_nested::<T>(body)).0.ok()
}

/// What was read stands in a message again with descriptors that are all there, or is refused.
fn is_written_again<T: Serialize>(value: &T) {
    let (written, beside) = passing::collecting(|| codec::encode(value, 16 << 20));
    assert!(written.is_ok(), "{written:?}");
    assert!(beside.iter().all(|one| rustix::fs::fstat(one.as_fd()).is_ok()));
}

/// Of the memory that comes beside a body.
const MEMORY: usize = 128 << 10;

fn descriptor(kind: u8) -> OwnedFd {
    let made = match kind {
        0 => memory(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL),
        1 => memory(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL),
        2 => Records::pair().map(|(_, other)| duplicate(&other)),
        _ => File::open("/dev/zero").map(OwnedFd::from),
    };
    match made {
        Ok(descriptor) => descriptor,
        Err(error) => panic!("{error}"),
    }
}

fn duplicate(records: &Records) -> OwnedFd {
    match records.descriptor().try_clone() {
        Ok(descriptor) => descriptor,
        Err(error) => panic!("{error}"),
    }
}

fn memory(seals: SealFlags) -> std::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("fuzzed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&file, MEMORY as u64)?;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}

pub(super) fn seeds() -> Seeds {
    fn body(value: &impl Serialize) -> Vec<u8> {
        match codec::encode(value, 1 << 10) {
            Ok(body) => body,
            Err(error) => panic!("{error}"),
        }
    }
    let seed = |which: u8, kinds: u8, body: &[u8]| [&[which, kinds], body].concat();
    let address = (1_u8, 7_u64, 3_u64, 11_u128, 9_u64);
    let shared = |place: u8, start: u64, length: u64| body(&(1_u8, place, start, length));
    vec![
        ("address", seed(0, 0, &body(&address))),
        ("address-of-another-layout", seed(0, 0, &body(&(9_u8, 7_u64, 3_u64, 11_u128, 9_u64)))),
        ("reply", seed(1, 0, &body(&(address, 4_u64, 5_u64, true)))),
        ("blob-copied", seed(2, 0, &body(&(0_u8, vec![7_u8; 40])))),
        ("blob-shared", seed(2, 0, &shared(0, 0, MEMORY as u64))),
        ("blob-part", seed(2, 0, &shared(0, 9, 90_000))),
        ("blob-too-long", seed(2, 0, &shared(0, 9, MEMORY as u64))),
        ("blob-overflows", seed(2, 0, &shared(0, u64::MAX, 2))),
        ("blob-not-sealed", seed(2, 1, &shared(0, 0, 10))),
        ("blob-of-a-socket", seed(2, 2, &shared(0, 0, 10))),
        ("blob-of-a-device", seed(2, 3, &shared(0, 0, 10))),
        ("blob-without-descriptor", seed(2, 0, &shared(9, 0, 10))),
        ("array", seed(3, 1, &[0])),
        ("array-of-a-device", seed(3, 3, &[0])),
        ("array-part", seed(4, 1, &body(&(0_u8, 2_u64, 16_000_u64)))),
        ("array-part-out-of-range", seed(4, 1, &body(&(0_u8, 2_u64, 17_000_u64)))),
        ("array-part-backwards", seed(4, 1, &body(&(0_u8, 9_u64, 2_u64)))),
        ("sender", seed(5, 2, &[0])),
        ("sender-of-memory", seed(5, 0, &[0])),
        ("receiver", seed(6, 2, &[0])),
        ("byte-writer", seed(7, 2, &[0, 1])),
        ("byte-reader", seed(8, 2, &body(&(0_u8, vec![1_u8, 2, 3], false)))),
        ("encoded", seed(9, 0, &body(&vec![1_u8, 2, 3]))),
        ("key", seed(10, 0, &body(&u64::MAX))),
        ("several", seed(11, 0b0010_0100, &[1, 0, 0, 10, 1, 2, 1, 1, 3, 0, 5])),
        ("one-descriptor-twice", seed(11, 0b0010_0100, &[1, 0, 0, 10, 0, 2, 0])),
    ]
}

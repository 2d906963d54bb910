//! Channels and byte streams: their ends reach other processes as values, and every end comes out.

use std::io::{Read, Write};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use watertight::{ByteReader, ByteWriter, ChannelError, Receiver, Sender, byte_stream, channel};

use super::*;

/// Works with ends that are sent to it.
pub struct Plumber {
    kept: Vec<Receiver<u64>>,
}

/// Answered with a channel through which so many numbers come.
#[message(reply = Receiver<u64>)]
pub struct Count(u64);

/// Answered with the sum of what comes.
#[message(reply = u64)]
pub struct SumUp(Receiver<u64>);

/// Keeps it, and takes nothing.
#[message(reply = ())]
pub struct KeepEnd(Receiver<u64>);

/// Answered with how many bytes come, or why not all do.
#[message(reply = std::result::Result<u64, String>)]
pub struct Drain(ByteReader);

#[message]
pub struct Abort;

impl Actor for Plumber {
    type Args = ();
    type Messages = (Count, SumUp, KeepEnd, Drain, Abort);
    async fn start((): (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Plumber { kept: Vec::new() })
    }
}

impl Handler<Count> for Plumber {
    async fn handle(&mut self, Count(up_to): Count, _: &mut Context<Self>) -> Result<Receiver<u64>> {
        let (sender, receiver) = channel()?;
        tokio::spawn(async move {
            for number in 0..up_to {
                sender.send(number).await?;
            }
            Ok::<(), ChannelError>(())
        });
        Ok(receiver)
    }
}

impl Handler<SumUp> for Plumber {
    async fn handle(&mut self, SumUp(receiver): SumUp, _: &mut Context<Self>) -> Result<u64> {
        let mut sum = 0;
        while let Some(number) = receiver.recv().await? {
            sum += number;
        }
        Ok(sum)
    }
}

impl Handler<KeepEnd> for Plumber {
    async fn handle(&mut self, KeepEnd(receiver): KeepEnd, _: &mut Context<Self>) -> Result<()> {
        self.kept.push(receiver);
        Ok(())
    }
}

impl Handler<Drain> for Plumber {
    async fn handle(
        &mut self,
        Drain(mut reader): Drain,
        _: &mut Context<Self>,
    ) -> Result<std::result::Result<u64, String>> {
        let mut sink = tokio::io::sink();
        Ok(tokio::io::copy(&mut reader, &mut sink).await.map_err(|error| error.to_string()))
    }
}

impl Handler<Abort> for Plumber {
    async fn handle(&mut self, _: Abort, _: &mut Context<Self>) -> Result<()> {
        std::process::abort()
    }
}

fn count(sender: Sender<u64>) {
    for number in 1..=1_000 {
        if sender.blocking_send(number).is_err() {
            return;
        }
    }
}

/// Echoes with the numbers doubled, in a function that may block.
fn double((from, to): (Receiver<u64>, Sender<u64>)) -> u64 {
    let numbers = from.blocking_iter().map_while(std::result::Result::ok);
    numbers.map_while(|number| to.blocking_send(2 * number).ok()).count() as u64
}

/// Gathers its lines, so that whoever reads one has read ahead.
fn shout(writer: ByteWriter) -> std::result::Result<(), String> {
    let mut lines = std::io::BufWriter::new(writer);
    let written = (0..10_000).try_for_each(|line| writeln!(lines, "line {line}"));
    let gathered = written.and_then(|()| lines.into_inner().map_err(std::io::Error::from));
    gathered.and_then(ByteWriter::blocking_finish).map_err(|error| error.to_string())
}

fn cut_short(mut writer: ByteWriter) {
    let _ = Write::write_all(&mut writer, b"the beginning");
    std::process::abort();
}

#[test]
fn what_a_function_in_its_own_process_sends_comes_out_in_order_and_then_the_end() {
    watertight::test(async |sys| {
        let (sender, receiver) = channel()?;
        let counting = sys.process(count, sender).await?;
        for expected in 1..=1_000 {
            assert_eq!(receiver.recv().await?, Some(expected));
        }
        counting.join().await?;
        assert_eq!(tokio::time::timeout(PATIENCE, receiver.recv()).await??, None);
        Ok(())
    });
}

#[test]
fn two_channels_are_a_conversation_with_a_function() {
    watertight::test(async |sys| {
        let ((to, theirs), (back, from)) = (channel()?, channel()?);
        let doubling = sys.process(double, (theirs, back)).await?;
        for number in 0..100 {
            to.send(number).await?;
            assert_eq!(from.recv().await?, Some(2 * number));
        }
        drop(to);
        assert_eq!(doubling.join().await?, 100);
        Ok(())
    });
}

#[test]
fn a_reply_may_be_a_channel_and_a_message_may_pass_it_on() {
    watertight::test(async |sys| {
        let one = sys.spawn::<Plumber>(()).await?;
        let other = sys.spawn::<Plumber>(()).await?;
        let numbers = one.ask(Count(5_000)).await?;
        assert_eq!(other.ask(SumUp(numbers)).await?, (0..5_000).sum::<u64>());
        Ok(())
    });
}

#[test]
fn a_sender_is_told_when_the_last_receiver_dies_and_waits_for_room_until_then() {
    watertight::test(async |sys| {
        let plumber = sys.spawn_with(Spec::<Plumber>::new(()).restart(Restart::Temporary)).await?;
        let (sender, receiver) = channel()?;
        plumber.ask(KeepEnd(receiver)).await?;
        let mut sent = 0_u64;
        while let Ok(result) = tokio::time::timeout(Duration::from_millis(50), sender.send(sent)).await {
            result?;
            sent += 1;
            assert!(sent < 100_000, "a full channel takes more and more");
        }
        assert!(sent > 50 && !sender.is_closed());
        let waiting = sender.send(sent);
        plumber.tell(Abort).await?;
        let told = tokio::time::timeout(PATIENCE, waiting).await?;
        assert!(matches!(told, Err(ChannelError::Closed)), "{told:?}");
        tokio::time::timeout(PATIENCE, sender.closed()).await??;
        assert!(sender.is_closed());
        Ok(())
    });
}

#[test]
fn values_with_blobs_and_values_beyond_a_record_go_through_and_those_beyond_a_message_do_not() {
    watertight::test(async |_| {
        let (sender, receiver) = channel::<(Blob, String)>()?;
        let blob = Blob::build(1 << 20, |bytes| bytes.fill(7))?;
        let text = "x".repeat(1 << 20);
        sender.send((blob.clone(), text.clone())).await?;
        assert_eq!(receiver.recv().await?, Some((blob.clone(), text)));
        let refused = sender.send((blob.clone(), "x".repeat(17 << 20))).await;
        assert!(matches!(refused, Err(ChannelError::Encode(_))), "{refused:?}");
        sender.send((blob.clone(), String::new())).await?;
        assert_eq!(receiver.try_recv()?, Some((blob, String::new())));
        assert!(matches!(receiver.try_recv(), Err(ChannelError::TimedOut)));
        Ok(())
    });
}

#[test]
fn a_byte_stream_is_read_to_its_last_byte_by_whoever_it_was_passed_to() {
    watertight::test(async |sys| {
        let (writer, mut reader) = byte_stream()?;
        let shouting = sys.process(shout, writer).await?;
        let mut first = [0; 7];
        AsyncReadExt::read_exact(&mut reader, &mut first).await?;
        assert_eq!(&first, b"line 0\n");
        // What was read ahead goes along.
        let plumber = sys.spawn::<Plumber>(()).await?;
        let rest = plumber.ask(Drain(reader)).await?;
        let all: usize = (0..10_000).map(|line| format!("line {line}\n").len()).sum();
        assert_eq!(rest, Ok((all - first.len()) as u64));
        assert_eq!(shouting.join().await?, Ok(()));
        Ok(())
    });
}

#[test]
fn a_byte_stream_larger_than_any_message_passes_through_little_memory() {
    watertight::test(async |sys| {
        const SIZE: u64 = 64 << 20;
        let plumber = sys.spawn::<Plumber>(()).await?;
        let (mut writer, reader) = byte_stream()?;
        let drained = plumber.ask(Drain(reader)).deadline(PATIENCE);
        let write = async {
            tokio::io::copy(&mut AsyncReadExt::take(tokio::io::repeat(1), SIZE), &mut writer).await?;
            writer.shutdown().await
        };
        let (drained, written) = tokio::join!(drained.into_future(), write);
        written?;
        assert_eq!(drained?, Ok(SIZE));
        Ok(())
    });
}

#[test]
fn what_a_dying_writer_leaves_off_never_passes_for_the_whole() {
    watertight::test(async |sys| {
        let (writer, mut reader) = byte_stream()?;
        let dying = sys.process(cut_short, writer).await?;
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            let result = Read::read_to_end(&mut reader, &mut all);
            (result.map_err(|error| error.kind()), all)
        });
        let read = tokio::time::timeout(PATIENCE, read).await??;
        assert_eq!(read, (Err(std::io::ErrorKind::UnexpectedEof), b"the beginning".to_vec()));
        assert!(dying.join().await.is_err());
        Ok(())
    });
}

#[test]
fn a_writer_is_told_when_its_reader_is_gone() {
    watertight::test(async |_| {
        let (mut writer, reader) = byte_stream()?;
        drop(reader);
        let told = AsyncWriteExt::write(&mut writer, b"x").await.map_err(|error| error.kind());
        assert_eq!(told, Err(std::io::ErrorKind::BrokenPipe));
        Ok(())
    });
}

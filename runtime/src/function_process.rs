//! One plain function in a process of its own.
//!
//! ```no_run
//! use watertight::prelude::*;
//!
//! fn hello(name: String) -> usize {
//!     println!("Hello {name}, from process {}", std::process::id());
//!     name.len()
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     watertight::run(async |sys: System| {
//!         let process = sys.process(hello, "Ada".to_owned()).await?;
//!         println!("it is process {}, and gave {}", process.pid(), process.join().await?);
//!         Ok(())
//!     })
//! }
//! ```

use std::future::{Future, IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::sync::watch;

use crate::System;
use crate::actor::{Actor, Context, Handler};
use crate::address::{Address, IntoRaw};
use crate::error::{AskError, Result, SpawnError};
use crate::message::{Message, MessageKey};
use crate::process::code_reference::{CodeReference, assert_captures_nothing};
use crate::report::{CrashReport, Exit};
use crate::spec::{Output, Restart, Spec};
use crate::task::{self, Piece, TaskCode};
use crate::wire::codec;
use crate::wire::control::Request;
use crate::wire::passing::{self, Passed};

/// A function has no deadline unless its caller gives it one: ten years.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl System {
    /// Calls `f` with `argument` in a process of its own, to be awaited: then it has begun. Python's `Process`.
    pub fn process<F, T, R>(&self, f: F, argument: T) -> ProcessOptions<R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        const { assert_captures_nothing::<F>() }
        static PROCESSES: AtomicU64 = AtomicU64::new(1);
        let mut input = Vec::new();
        let (encoded, beside) = passing::collecting(|| task::encode_input(&argument, &mut input));
        let errand =
            task::code(f).map_err(|error| SpawnError::Code(error.to_string())).and_then(
                |code| match encoded {
                    Ok(()) => Ok(Errand { code, input: Piece(input), descriptors: Passed(beside) }),
                    Err(error) => Err(SpawnError::Arguments(error.to_string())),
                },
            );
        let spec = errand.map(|errand| {
            Spec::new(errand)
                .name(format!("process-{}", PROCESSES.fetch_add(1, Ordering::Relaxed)))
                .restart(Restart::Temporary)
                .hang_limit(None)
                .output(Output::Plain)
        });
        ProcessOptions { system: self.clone(), spec, result: PhantomData }
    }
}

/// How a process is started; await it to start it.
#[must_use = "a process is started when this is awaited"]
pub struct ProcessOptions<R> {
    system: System,
    spec: Result<Spec<Once>, SpawnError>,
    result: PhantomData<fn() -> R>,
}

impl<R> ProcessOptions<R> {
    /// Its name, unique in the system. Default: `process-` and a number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec = self.spec.map(|spec| spec.name(name));
        self
    }

    /// The most private memory it may have, in bytes: see [`Spec::memory`].
    pub fn memory(mut self, bytes: u64) -> Self {
        self.spec = self.spec.map(|spec| spec.memory(bytes));
        self
    }

    /// Where its standard output and error go. Default: [`Output::Plain`].
    pub fn output(mut self, output: Output) -> Self {
        self.spec = self.spec.map(|spec| spec.output(output));
        self
    }

    /// Passes these environment variables on too: see [`Spec::environment`].
    pub fn environment<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.spec = self.spec.map(|spec| spec.environment(names));
        self
    }

    async fn start(self) -> Result<Process<R>, SpawnError> {
        let spec = self.spec?;
        let name = spec.name.clone().unwrap_or_default();
        let node = Arc::clone(self.system.node());
        let address = self.system.spawn_with(spec).await?;
        let pid = self.system.info(&address).await.ok().and_then(|info| info.pid).unwrap_or(0);
        let (tell, ended) = watch::channel(None);
        let (asked, raw) = (address.clone(), address.raw());
        drop(node.clone().runtime.spawn(async move {
            let answer = asked.ask(Begin).deadline(FOR_EVER).await;
            // Whatever it answered, it is to be gone: it may have ended by itself already.
            let _ = node.request(Request::Stop { address: raw }).await;
            // Nobody may have kept the handle.
            let _ = tell.send(Some(Arc::new(answer)));
        }));
        Ok(Process { system: self.system, address, name, pid, ended, result: PhantomData })
    }
}

impl<R: 'static> IntoFuture for ProcessOptions<R> {
    type Output = Result<Process<R>, SpawnError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

type Ended = Option<Arc<Result<Returned, AskError>>>;

/// A function that runs in a process of its own. Dropped, it runs on; a program that ends waits 5 s for it.
pub struct Process<R> {
    system: System,
    address: Address<Once>,
    name: String,
    pid: u32,
    ended: watch::Receiver<Ended>,
    result: PhantomData<fn() -> R>,
}

/// Why a process has no result.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It died before its function had returned.
    #[error("the process {} died: {}", report.name, report.exit)]
    Died {
        /// What is known of the death.
        report: Box<CrashReport>,
    },
    /// It was ended before its function was called, or the system is shutting down.
    #[error("the process was ended: {0}")]
    Ended(String),
    /// The function returned, but its result does not encode or decode.
    #[error("{0}")]
    Result(String),
}

impl<R> Process<R> {
    /// The number of the operating system's process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has not ended yet.
    pub fn is_alive(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// How it ended; `None` while it is alive.
    pub fn exit(&self) -> Option<Exit> {
        match self.ended.borrow().as_deref()? {
            Ok(_) => Some(Exit::Finished),
            Err(error) => error.report().map(|report| report.exit.clone()),
        }
    }

    /// What is known of its death, if it died.
    pub fn report(&self) -> Option<CrashReport> {
        self.ended.borrow().as_deref()?.as_ref().err()?.report().cloned()
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The other end always tells before it goes.
        let _ = ended.wait_for(Option::is_some).await;
    }

    /// Kills it and waits until it has ended. Nothing in it gets a chance to run.
    pub async fn terminate(&self) {
        self.kill().await;
        self.ended().await;
    }

    /// Kills it with SIGKILL: to its [`join`](Self::join) that is a death like any other.
    pub async fn kill(&self) {
        // One that has ended already needs no killing.
        let _ = self.system.kill(&self.address).await;
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Waits until it has ended, and gives what its function returned. It may be called again.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn join(&self) -> Result<R, ProcessError> {
        self.ended().await;
        let ended = self.ended.borrow();
        match ended.as_deref() {
            Some(Ok(returned)) => returned.read(),
            Some(Err(AskError::Died { report, .. } | AskError::Quarantined { report, .. })) => {
                Err(ProcessError::Died { report: report.clone() })
            }
            Some(Err(error)) => Err(ProcessError::Ended(error.to_string())),
            None => Err(ProcessError::Ended("the system is shutting down".into())),
        }
    }

    /// Waits at most so long; `None` if it has not ended by then.
    pub async fn join_within(&self, wait: Duration) -> Option<Result<R, ProcessError>> {
        tokio::time::timeout(wait, self.join()).await.ok()
    }
}

impl<R> std::fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("name", &self.name).field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Waits until one of these has ended, and says which: the first of them that has. Python's `connection.wait`. Of none
/// it waits for ever.
pub async fn wait_any<R>(processes: &[Process<R>]) -> usize {
    let mut ends: Vec<_> = processes.iter().map(|process| Box::pin(process.ended())).collect();
    poll_fn(|cx| {
        let ended = ends.iter_mut().position(|end| end.as_mut().poll(cx).is_ready());
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// What a process is to call.
#[derive(Serialize, Deserialize)]
struct Errand {
    code: CodeReference,
    input: Piece,
    descriptors: Passed,
}

/// The actor that a process is.
struct Once(Option<Errand>);

/// Calls the function.
#[derive(Serialize, Deserialize)]
struct Begin;

/// What the function returned.
#[derive(Debug, Serialize, Deserialize)]
struct Returned {
    result: Piece,
    error: Option<String>,
    descriptors: Passed,
}

impl Message for Begin {
    type Reply = Returned;
    const NAME: &'static str = "watertight.process.Begin";
    const KEY: MessageKey = MessageKey::named(Self::NAME);
}

impl Actor for Once {
    type Args = Errand;
    type Messages = (Begin,);

    async fn start(errand: Errand, _: &mut Context<Self>) -> Result<Self> {
        Ok(Once(Some(errand)))
    }
}

impl Handler<Begin> for Once {
    async fn handle(&mut self, _: Begin, cx: &mut Context<Self>) -> Result<Returned> {
        let errand = self.0.take().ok_or_else(|| crate::Error::new("its function was called already"))?;
        let code = errand.code.resolve::<TaskCode>()?.main.call;
        let mut output = Vec::new();
        let owned = errand.descriptors.0.into_iter().filter_map(Arc::into_inner).collect();
        let call = || code(&errand.input.0, &mut output);
        let (called, beside) = passing::collecting(|| passing::offering(owned, call).0);
        cx.stop();
        let error = called.err().map(|error| error.to_string());
        Ok(Returned { result: Piece(output), error, descriptors: Passed(beside) })
    }
}

impl Returned {
    fn read<R: DeserializeOwned>(&self) -> Result<R, ProcessError> {
        if let Some(error) = &self.error {
            return Err(ProcessError::Result(error.clone()));
        }
        let copies: std::io::Result<Vec<_>> = self.descriptors.0.iter().map(|one| one.try_clone()).collect();
        let copies = copies.map_err(|error| ProcessError::Result(error.to_string()))?;
        passing::offering(copies, || codec::decode_nested(&self.result.0))
            .0
            .map_err(|error| ProcessError::Result(format!("the result could not be read: {error}")))
    }
}

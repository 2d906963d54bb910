//! START HERE: `run` becomes the supervisor process, or an actor's.
//!
//! The same executable is both. Started by a user, `run` sets up a supervisor ([`supervisor`](crate::supervisor), on a
//! thread of its own) and calls the user's closure ([`program`](crate::program)). Started by a supervisor, which is seen
//! by the first argument, `run` never reaches the closure: the process becomes the actor that its ticket names
//! ([`host`](crate::host)).

use std::any::type_name;
use std::process::ExitCode;
use std::sync::{Arc, Once};
use std::time::Duration;

use crate::actor::Actor;
use crate::address::{Address, IntoRaw};
use crate::error::{Result, SpawnError, SystemError, Unreachable};
use crate::event::{ActorInfo, Events};
use crate::fault::{Injection, Plan};
use crate::host;
use crate::ledger::Ledger;
use crate::message::Protocol;
use crate::monitor::Monitor;
use crate::node::Node;
use crate::process::code_reference::{CodeReference, Entry};
use crate::process::{child, descriptors, survivor};
use crate::program;
use crate::recent::Recent;
use crate::run::Run;
use crate::spec::Spec;
use crate::wire::control::{Answer, Arguments, Refusal, Request, SpawnRequest};
use crate::wire::ids::ActorId;

/// Runs a program with actors: `main` gets the [`System`], and when it returns, everything accepted is handled, every
/// actor is stopped in reverse order, and the exit code says how it went.
///
/// It must be the first statement of `main()`: actor processes run the same `main()` up to here, so what stands above
/// runs in each of them too. Ctrl-C ends the program in the same orderly way; a second Ctrl-C kills.
///
/// [`Run`] does the same with options.
///
/// Exit codes: 0; 1 if `main` returned an error, which is printed; 70 if a group that stands in no other was given up,
/// with the child at fault and its last crash printed; 128 and the signal's number if interrupted, or when `main` prints
/// although nobody reads any more (141, as of SIGPIPE): the system is then shut down, and nothing more is said.
///
/// ```no_run
/// use watertight::prelude::*;
///
/// fn main() -> std::process::ExitCode {
///     watertight::run(async |sys: System| {
///         println!("{} actors", sys.list().await?.len());
///         Ok(())
///     })
/// }
/// ```
pub fn run<F>(main: F) -> ExitCode
where
    F: AsyncFnOnce(System) -> Result<()>,
{
    Run::new().main(main)
}

/// Never returns in a process that a supervisor has started.
pub(crate) fn become_what_it_was_started_as() {
    if child::is_marked() {
        host::become_actor();
    }
    if let Some(system) = survivor::marked() {
        survivor::outlive(&system);
    }
}

/// Keeps others of the same user from reading this program's memory, environment and descriptors, actors without a
/// sandbox among them. For the program itself, as the first thing in the closure that is given to [`run`].
///
/// It costs what such reading is good for: there are no core files of it, and a debugger or profiler that is attached
/// later needs privileges. It cannot stop a process of the same user from sending it signals.
///
/// # Errors
/// When the kernel refuses, which it does not unless a sandbox makes it.
pub fn hide_program() -> std::io::Result<()> {
    child::hide()
}

/// What this process does once, before its first system: strays stay out of children, and a thousand of them fit.
pub(crate) fn begin_once() -> std::io::Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = descriptors::close_all_on_exec().and_then(|()| descriptors::raise_limit().map(|_| ()));
    });
    result
}

/// Attaches to the system of another program that [listens](System::listen) as `name`: to find actors by name and to
/// tell and ask them. Call it in any tokio runtime. Before the program ends, await [`System::settled`].
///
/// A program stays attached until its tokio runtime ends, and is attached once: again from the same runtime, this is the
/// attachment that there is.
///
/// Addresses and messages must be those of the other program: what differs is refused, per actor and per message.
///
/// # Errors
/// [`SystemError::Attach`], with what to do.
pub async fn attach(name: &str) -> Result<System, SystemError> {
    program::attach(name).await.map(System::new).map_err(|e| SystemError::Attach(e.to_string()))
}

/// How soon an unbalanced ledger is looked at again: a message takes microseconds.
const BALANCE_AGAIN: Duration = Duration::from_millis(1);

/// A running system of actors, as its program sees it; cheap to clone.
#[derive(Clone)]
pub struct System {
    pub(crate) node: Arc<Node>,
}

impl System {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        System { node }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Starts an actor with the default spec, and waits until its `start` has returned.
    ///
    /// # Errors
    /// [`SpawnError`]; with the crash report if its process died in `start`.
    pub async fn spawn<A: Actor>(&self, arguments: A::Args) -> Result<Address<A>, SpawnError> {
        self.spawn_with(Spec::new(arguments)).await
    }

    /// Starts an actor as its spec says, and waits until its `start` has returned.
    ///
    /// # Errors
    /// [`SpawnError`]; with the crash report if its process died in `start`.
    pub async fn spawn_with<A: Actor>(&self, spec: Spec<A>) -> Result<Address<A>, SpawnError> {
        spawn(&self.node, spec).await
    }

    /// Stops an actor and everything under it for good, and waits until that has happened.
    ///
    /// # Errors
    /// [`SystemError::Unreachable`] if it has ended already.
    pub async fn stop(&self, actor: &impl IntoRaw) -> Result<(), SystemError> {
        self.done(Request::Stop { address: actor.raw() }).await
    }

    /// Kills an actor's process with SIGKILL. To everybody else it is a crash: it is restarted as its spec says.
    ///
    /// # Errors
    /// [`SystemError::Unreachable`] if it has ended.
    pub async fn kill(&self, actor: &impl IntoRaw) -> Result<(), SystemError> {
        self.done(Request::Kill { address: actor.raw() }).await
    }

    /// Tells when this life of an actor ends, behind everything that it had sent to this program; at once if it has ended
    /// already. For a program or a test: an actor has [`Context::monitor`](crate::Context::monitor).
    ///
    /// ```no_run
    /// # async fn f(sys: watertight::System, worker: &impl watertight::address::IntoRaw) -> watertight::Result<()> {
    /// let monitor = sys.monitor(worker).await?;
    /// sys.kill(worker).await?;
    /// assert_eq!(monitor.down().await?.exit, watertight::Exit::Killed);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::Unreachable`] when the address leads nowhere.
    pub async fn monitor(&self, actor: &impl IntoRaw) -> Result<Monitor, SystemError> {
        Monitor::begin(&self.node, actor).await
    }

    /// What is known of one actor.
    ///
    /// # Errors
    /// [`SystemError::Unreachable`] if it has been forgotten or never was.
    pub async fn info(&self, actor: &impl IntoRaw) -> Result<ActorInfo, SystemError> {
        self.info_of(actor.actor()).await
    }

    /// What is known of the actor with this number.
    ///
    /// # Errors
    /// [`SystemError::Unreachable`] if it has been forgotten or never was.
    pub async fn info_of(&self, actor: ActorId) -> Result<ActorInfo, SystemError> {
        match self.node.request(Request::Info { actor }).await {
            Ok(Answer::Info(info)) => Ok(*info),
            other => Err(system_error(other)),
        }
    }

    /// Every living actor, in the order in which they were first started.
    ///
    /// # Errors
    /// [`SystemError::ShuttingDown`].
    pub async fn list(&self) -> Result<Vec<ActorInfo>, SystemError> {
        match self.node.request(Request::List).await {
            Ok(Answer::List(list)) => Ok(list),
            other => Err(system_error(other)),
        }
    }

    /// What has become of all messages accepted so far.
    ///
    /// # Errors
    /// [`SystemError::ShuttingDown`].
    pub async fn ledger(&self) -> Result<Ledger, SystemError> {
        self.ledger_request(None).await
    }

    /// What has become of the messages accepted for one actor.
    ///
    /// # Errors
    /// [`SystemError::ShuttingDown`].
    pub async fn ledger_of(&self, actor: &impl IntoRaw) -> Result<Ledger, SystemError> {
        self.ledger_request(Some(actor.actor())).await
    }

    /// Lets programs of this user attach to the system as `name`, with [`attach`].
    ///
    /// # Errors
    /// [`SystemError::Listen`], with what to do: the name is taken, or its directory is not private.
    pub async fn listen(&self, name: &str) -> Result<(), SystemError> {
        self.done(Request::Listen { name: name.to_owned() }).await
    }

    /// Everything that happens in the system from now on. There may be any number of these: each gets every event.
    ///
    /// # Errors
    /// [`SystemError::ShuttingDown`].
    pub async fn events(&self) -> Result<Events, SystemError> {
        Events::begin(&self.node).await.map_err(|refusal| system_error(Err(refusal)))
    }

    /// What an actor's thread is doing now: a line for each function, innermost first. It goes on with it.
    ///
    /// `None` if that cannot be seen: it has no process just now, its process is stopped, or it blocks SIGURG, by which
    /// it is asked. A process that sleeps until something happens shows the runtime, and a handler that awaits is on no
    /// stack. Finding the names takes some hundred milliseconds of the process's other thread; after a second nobody waits
    /// any more. It also takes the process's memory, so an actor near its memory limit may die of it.
    ///
    /// # Errors
    /// [`SystemError::Unreachable`] if it has ended.
    pub async fn stack(&self, actor: &impl IntoRaw) -> Result<Option<String>, SystemError> {
        self.stack_of(actor.actor()).await
    }

    pub(crate) async fn stack_of(&self, actor: ActorId) -> Result<Option<String>, SystemError> {
        match self.node.request(Request::Stack { actor }).await {
            Ok(Answer::Stack(stack)) => Ok(stack),
            other => Err(system_error(other)),
        }
    }

    pub(crate) async fn recent(&self) -> Result<Recent, SystemError> {
        match self.node.request(Request::Recent).await {
            Ok(Answer::Recent(recent)) => Ok(*recent),
            other => Err(system_error(other)),
        }
    }

    /// Injects the faults of this plan from now on, in place of an earlier one; see [`fault`](crate::fault).
    ///
    /// Processes that run already get it at once, but without having been counted before: their first occasion is the
    /// first from now on.
    ///
    /// # Errors
    /// [`SystemError::Plan`] for a plan that is not possible, and when a program from outside asks, `NotAllowed`.
    pub async fn inject(&self, plan: Plan) -> Result<(), SystemError> {
        self.done(Request::Inject(Box::new(plan))).await
    }

    /// What has been injected so far, oldest first; the first 10,000 are kept.
    ///
    /// # Errors
    /// [`SystemError::ShuttingDown`].
    pub async fn injected(&self) -> Result<Vec<Injection>, SystemError> {
        match self.node.request(Request::Injections).await {
            Ok(Answer::Injections(injections)) => Ok(injections),
            other => Err(system_error(other)),
        }
    }

    /// Waits until everything that this program has sent so far is handled, or is known never to be.
    pub async fn settled(&self) {
        self.node.settled().await;
    }

    /// The ledger of a quiet moment: asks again until it balances, at most for `within`.
    ///
    /// A reply reaches its asker a moment before its message counts as processed, so an asker that looks at once may
    /// still see it waiting.
    ///
    /// # Errors
    /// [`SystemError::ShuttingDown`]. A ledger that does not balance in time is no error: look at it.
    pub async fn balance(&self, within: Duration) -> Result<Ledger, SystemError> {
        let end = tokio::time::Instant::now() + within;
        loop {
            let ledger = self.ledger().await?;
            if ledger.is_balanced() || tokio::time::Instant::now() >= end {
                return Ok(ledger);
            }
            tokio::time::sleep(BALANCE_AGAIN).await;
        }
    }

    pub(crate) async fn ledger_by_number(&self, actor: ActorId) -> Result<Ledger, SystemError> {
        self.ledger_request(Some(actor)).await
    }

    async fn ledger_request(&self, actor: Option<ActorId>) -> Result<Ledger, SystemError> {
        match self.node.request(Request::Ledger { actor }).await {
            Ok(Answer::Ledger(ledger)) => Ok(ledger),
            other => Err(system_error(other)),
        }
    }

    async fn done(&self, request: Request) -> Result<(), SystemError> {
        done(&self.node, request).await
    }
}

/// Asks for something that has no answer but that it is done.
pub(crate) async fn done(node: &Node, request: Request) -> Result<(), SystemError> {
    match node.request(request).await {
        Ok(Answer::Done) => Ok(()),
        other => Err(system_error(other)),
    }
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "System({:x})", self.node.identity.system.0)
    }
}

/// The code reference of an actor type: a constant of this executable, found again in the child by its offset.
struct Code<A>(std::marker::PhantomData<A>);

impl<A: Actor> Code<A> {
    const ENTRY: &'static Entry<host::begin::Main> =
        &Entry::new(<A::Messages as Protocol<A>>::FINGERPRINT, host::main_loop::run_actor::<A>);
}

/// What is asked of the supervisor for this spec.
pub(crate) fn request_of<A: Actor>(spec: Spec<A>) -> Result<SpawnRequest, SpawnError> {
    Ok(SpawnRequest {
        name: spec.name,
        actor_type: type_name::<A>().to_owned(),
        code: CodeReference::to(Code::<A>::ENTRY).map_err(|e| SpawnError::Code(e.to_string()))?,
        arguments: Arguments::write(&spec.arguments).map_err(|e| SpawnError::Arguments(e.to_string()))?,
        protocol: <A::Messages as Protocol<A>>::FINGERPRINT,
        options: spec.options,
    })
}

pub(crate) async fn spawn<A: Actor>(node: &Arc<Node>, spec: Spec<A>) -> Result<Address<A>, SpawnError> {
    let request = request_of(spec)?;
    match node.request(Request::Spawn(Box::new(request))).await {
        Ok(Answer::Address(raw)) => Ok(Address::new(raw)),
        Err(Refusal::Spawn(error)) => Err(error),
        _ => Err(SpawnError::ShuttingDown),
    }
}

pub(crate) fn system_error(answer: Result<Answer, Refusal>) -> SystemError {
    match answer {
        Err(Refusal::System(error)) => error,
        Err(Refusal::Plan(error)) => SystemError::Plan(error),
        Err(Refusal::Unreachable(reason)) => SystemError::Unreachable(reason),
        Err(Refusal::Spawn(_) | Refusal::Administration(_)) => SystemError::ShuttingDown,
        // An answer to another question: the two ends are not of one mind any more.
        Ok(_) => SystemError::Unreachable(Unreachable::OtherProtocol),
    }
}

//! From a fresh process to an actor: who am I, may I run this, and what may I use. One thread until all is settled.

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fault::here::Who;
use crate::fault::{self, Cut};
use crate::process::code_reference::{Entry, Image};
use crate::process::recorder::Recorder;
use crate::process::{capture, cgroup, child, sandbox};
use crate::profile::Confinement;
use crate::wire::control::{Ticket, ToPeer, ToSupervisor};
use crate::wire::conversation::{self, Listener};
use crate::wire::hello::{Hello, Role};
use crate::wire::ids::SystemId;
use crate::wire::transport::{BlockingControl, write_all};

/// What a child runs: named to it by a code reference, called with its start.
pub(crate) type Main = fn(Start);

/// Everything an actor process begins with.
pub(crate) struct Start {
    pub(crate) ticket: Ticket,
    pub(crate) control: BlockingControl,
    /// What has been read of the control conversation beyond the ticket.
    pub(crate) listener: Listener,
    pub(crate) recorder: Recorder,
    /// Whether it has introduced itself already.
    pub(crate) introduced: bool,
    /// How this process has shut itself in.
    pub(crate) confinement: Confinement,
}

/// Exit code of a child that could not become an actor; `EX_SOFTWARE` of sysexits.
const FAILED: i32 = 70;

static BECAME: AtomicBool = AtomicBool::new(false);

/// Turns this process, which the supervisor has started, into its actor. Never returns.
pub(crate) fn become_actor() -> ! {
    if BECAME.swap(true, Ordering::SeqCst) {
        eprintln!(
            "watertight: a system was started inside an actor's process; use cx.spawn to start children"
        );
        child::exit_now(FAILED);
    }
    match begin() {
        Ok((entry, start)) => {
            (entry.main)(start);
            child::exit_now(0)
        }
        Err(error) => {
            eprintln!("watertight: this process could not become an actor: {error}");
            child::exit_now(FAILED)
        }
    }
}

fn begin() -> Result<(&'static Entry<Main>, Start), String> {
    let socket = attempt("take over the control link", child::take_control())?;
    let control = attempt("take over the control link", BlockingControl::new(socket))?;
    let mut listener = Listener::new(Role::Supervisor, SystemId(0));
    let (mut ticket, page, door) = read_ticket(&control, &mut listener)?;
    if ticket.heading {
        println!("{}", capture::HEADING_END);
    }
    let introduced = attempt("take up its fault plan", take_faults(&control, &mut ticket))?;
    fault::at(Cut::Handshake);
    match prepare(&ticket, page, door) {
        Ok((entry, recorder, confinement)) => {
            Ok((entry, Start { ticket, control, listener, recorder, introduced, confinement }))
        }
        Err(refused) => {
            let (message, error) = refused.said();
            say(&control, &ticket, introduced, &message);
            Err(error)
        }
    }
}

/// Why a process does not become its actor.
enum Refused {
    Failed(String),
    Unconfined(String),
}

impl From<String> for Refused {
    fn from(error: String) -> Self {
        Refused::Failed(error)
    }
}

impl Refused {
    fn said(self) -> (ToSupervisor, String) {
        match self {
            Refused::Failed(error) => (ToSupervisor::StartFailed { error: error.clone() }, error),
            Refused::Unconfined(reason) => (ToSupervisor::Unconfined { reason: reason.clone() }, reason),
        }
    }
}

fn prepare(
    ticket: &Ticket,
    page: OwnedFd,
    door: Option<OwnedFd>,
) -> Result<(&'static Entry<Main>, Recorder, Confinement), Refused> {
    attempt("bind to the supervisor's life", child::die_with_parent(ticket.parent_process))?;
    // Before it could start anything.
    let entered = door.map_or(Ok(()), cgroup::enter);
    attempt("enter its control group", entered).map_err(Refused::Unconfined)?;
    // A test harness has threads; elsewhere one more means that something ran before `run`, and limits that are set
    // per thread would miss it.
    let single = attempt("count its threads", child::thread_count())? == 1;
    if !ticket.heading && !single {
        let error =
            "other threads were running already: `watertight::run` must be the first statement of `main`";
        return Err(error.to_owned().into());
    }
    let image = attempt("look at its own executable", Image::of_this_process())?;
    attempt("run this executable", ticket.image.check(&image))?;
    let code = ticket.code.ok_or_else(|| "its ticket names no code".to_owned())?;
    let entry = attempt("find its code", code.resolve::<Main>())?;
    attempt("limit itself", child::harden(&ticket.limits))?;
    let recorder = attempt("map its flight recorder", Recorder::open(page))?;
    let confinement =
        sandbox::confine(&ticket.profile, &ticket.limits, single).map_err(Refused::Unconfined)?;
    Ok((entry, recorder, confinement))
}

/// Its ticket, its flight recorder, and the way into its control group, if it has one.
type Received = (Ticket, OwnedFd, Option<OwnedFd>);

fn read_ticket(control: &BlockingControl, listener: &mut Listener) -> Result<Received, String> {
    let mut buffer = vec![0; 4096];
    loop {
        match listener.next::<ToPeer>().map_err(|e| e.to_string())? {
            Some((ToPeer::Start(ticket), descriptors)) => {
                let mut descriptors = descriptors.into_iter();
                let page = descriptors.next().ok_or("its ticket came without a flight recorder")?;
                return Ok((*ticket, page, descriptors.next()));
            }
            Some(_) => return Err("the supervisor said something before the ticket".into()),
            None => {}
        }
        let read = attempt("read its ticket", control.read(&mut buffer, &mut listener.descriptors))?;
        if read == 0 {
            return Err("the supervisor is gone".into());
        }
        listener.heard(&buffer[..read]);
    }
}

/// Installs what is to be injected here, if anything is. Whether this process has introduced itself for it.
fn take_faults(control: &BlockingControl, ticket: &mut Ticket) -> std::io::Result<bool> {
    let Some(injector) = ticket.faults.take() else { return Ok(false) };
    control.write_all(&Hello { role: Role::Actor, system: ticket.system }.encode())?;
    let who = Who { actor: ticket.actor, name: ticket.name.clone(), incarnation: ticket.incarnation };
    let mouth = control.writer()?;
    let tell = Rc::new(move |injection| {
        let mut bytes = Vec::new();
        if conversation::append(&mut bytes, &ToSupervisor::Injected(Box::new(injection)), 0).is_ok() {
            // Whoever does not read it any more does not want to know either.
            let _ = write_all(mouth.as_fd(), &bytes, &[]);
        }
    });
    fault::install(*injector, who, tell);
    Ok(true)
}

fn say(control: &BlockingControl, ticket: &Ticket, introduced: bool, message: &ToSupervisor) {
    let mut bytes = Vec::new();
    if !introduced {
        bytes.extend_from_slice(&Hello { role: Role::Actor, system: ticket.system }.encode());
    }
    // If neither encoding nor writing works, standard error and the exit code still tell.
    if conversation::append(&mut bytes, message, 0).is_ok() {
        let _ = control.write_all(&bytes);
    }
}

fn attempt<T, E: Display>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("failed to {what}: {error}"))
}

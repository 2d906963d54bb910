//! A group of the supervision tree: which actors stand together, and what is done with the others when one ends.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::error::{AdministrationError, SpawnError};
use crate::spec::{Backoff, GROUP_DEPTH, Intensity, Restart, Spec, SpecError, check_name};
use crate::system;
use crate::wire::control::{GroupNode, GroupOptions, GroupRequest, NodeKind, SpawnRequest};

/// Who else is restarted when a child of a group is; OTP's words with OTP's meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Nobody.
    #[default]
    OneForOne,
    /// All others: they are stopped in reverse order, then all are started in order.
    OneForAll,
    /// Those that were started after it, in the same way.
    RestForOne,
}

/// Whether a group ends when its significant children have; OTP's words with OTP's meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutoShutdown {
    /// No; no child may be significant.
    #[default]
    Never,
    /// When the first of them has ended by itself and is not restarted.
    AnySignificant,
    /// When the last of them has.
    AllSignificant,
}

/// What can be changed of a group while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// Who else is restarted.
    pub strategy: Strategy,
    /// More restarts than this, of all children together, and the group is given up.
    pub intensity: Intensity,
    /// Whether it ends with its significant children.
    pub auto_shutdown: AutoShutdown,
}

/// The spec of a group: its children in the order of their start, and what binds them.
///
/// Everything that contradicts itself is refused before anything is started, with the path of the child at fault.
///
/// ```no_run
/// # use watertight::prelude::*;
/// # use watertight::{Group, Strategy};
/// # use std::time::Duration;
/// # struct Store; struct Desk; #[message] struct Sell;
/// # impl Actor for Store { type Args = (); type Messages = (Sell,); async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Store) } }
/// # impl Handler<Sell> for Store { async fn handle(&mut self, _: Sell, _: &mut Context<Self>) -> Result<()> { Ok(()) } }
/// # impl Actor for Desk { type Args = (); type Messages = (Sell,); async fn start(_: (), _: &mut Context<Self>) -> Result<Self> { Ok(Desk) } }
/// # impl Handler<Sell> for Desk { async fn handle(&mut self, _: Sell, _: &mut Context<Self>) -> Result<()> { Ok(()) } }
/// # async fn f(sys: System) -> Result<()> {
/// sys.start_group(
///     Group::new("shop")
///         .strategy(Strategy::RestForOne)
///         .intensity(3, Duration::from_secs(10))
///         .child(Spec::<Store>::new(()).name("store"))
///         .child(Spec::<Desk>::new(()).name("desk")),
/// )
/// .await?;
/// let store = sys.find::<Store>("shop/store").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a group starts nothing until it is given to start_group"]
pub struct Group {
    name: String,
    options: GroupOptions,
    children: Vec<Member>,
}

#[derive(Clone, Debug)]
enum Member {
    Actor(Box<Result<SpawnRequest, SpawnError>>),
    Group(Group),
}

impl Group {
    /// An empty group: one for one, 5 restarts in 60 s, permanent.
    pub fn new(name: impl Into<String>) -> Self {
        let options = GroupOptions {
            flags: Flags::default(),
            restart: Restart::Permanent,
            significant: false,
            backoff: Backoff::default(),
            template: None,
        };
        Group { name: name.into(), options, children: Vec::new() }
    }

    /// A dynamic group: all its children are made from this one spec, started and stopped at will with
    /// [`System::start_instance`](crate::System::start_instance), and forgotten when they end. They are stopped all at
    /// once, not one after another. OTP calls it `simple_one_for_one`.
    pub fn dynamic<A: Actor>(name: impl Into<String>, template: Spec<A>) -> Self {
        let mut group = Group::new(name);
        let template = system::request_of(template);
        group.children.push(Member::Actor(Box::new(template)));
        group.options.template = Some(());
        group
    }

    /// Who else is restarted when a child is. Default: [`Strategy::OneForOne`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.options.flags.strategy = strategy;
        self
    }

    /// How many restarts of all its children together are borne in which period. One more, and all are stopped and the
    /// group ends; what then is its own group's decision. Default: 5 in 60 s.
    pub fn intensity(mut self, restarts: u32, within: Duration) -> Self {
        self.options.flags.intensity = Intensity { restarts, within };
        self
    }

    /// Whether the group ends with its significant children. Default: [`AutoShutdown::Never`].
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.options.flags.auto_shutdown = auto_shutdown;
        self
    }

    /// When the group itself is started again after it has ended by itself. Default: [`Restart::Permanent`].
    ///
    /// A group that stands in no other is never restarted: when it is given up the program ends, unless the group is
    /// [`Restart::Temporary`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.options.restart = restart;
        self
    }

    /// Its end counts for the [`AutoShutdown`] of the group that it stands in.
    pub fn significant(mut self) -> Self {
        self.options.significant = true;
        self
    }

    /// The wait before the group itself is restarted. Default: none, then 10 ms, doubling to 1 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// Its next child. It will be found by the group's name, a slash and its own.
    pub fn child<A: Actor>(mut self, spec: Spec<A>) -> Self {
        self.children.push(Member::Actor(Box::new(system::request_of(spec))));
        self
    }

    /// Its next child is a group.
    pub fn group(mut self, group: Group) -> Self {
        self.children.push(Member::Group(group));
        self
    }

    /// What is asked of the supervisor; refuses what contradicts itself.
    pub(crate) fn into_request(self, under: Option<String>) -> Result<GroupRequest, AdministrationError> {
        let mut nodes = Vec::new();
        let path = match &under {
            Some(under) => format!("{under}/{}", self.name),
            None => self.name.clone(),
        };
        self.flatten(None, &path, 1, &mut nodes)?;
        Ok(GroupRequest { under, nodes })
    }

    fn flatten(
        self,
        parent: Option<u32>,
        path: &str,
        depth: usize,
        nodes: &mut Vec<GroupNode>,
    ) -> Result<(), AdministrationError> {
        let refuse = |path: &str, error| Err(AdministrationError::Spec { path: path.to_owned(), error });
        if depth > GROUP_DEPTH {
            return refuse(path, SpecError::TooDeep);
        }
        if let Err(error) = self.check() {
            return refuse(path, error);
        }
        let is_dynamic = self.options.template.is_some();
        let flags = self.options.flags;
        let me = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let kind = NodeKind::Group(self.options);
        nodes.push(GroupNode { parent, name: Some(self.name), kind });
        let mut names = HashSet::new();
        for member in self.children {
            match member {
                Member::Actor(request) => {
                    let name = (*request).as_ref().ok().and_then(|request| request.name.clone());
                    let path = format!("{path}/{}", name.as_deref().unwrap_or("?"));
                    let request = match *request {
                        Ok(request) => request,
                        Err(error) => {
                            return Err(AdministrationError::Start { path, error: Box::new(error) });
                        }
                    };
                    if let Err(error) = check_child(&request, flags, is_dynamic) {
                        return refuse(&path, error);
                    }
                    if name.is_some_and(|name| !names.insert(name)) {
                        return refuse(&path, SpecError::SameName);
                    }
                    let kind = NodeKind::Actor(Box::new(request.clone()));
                    nodes.push(GroupNode { parent: Some(me), name: request.name, kind });
                }
                Member::Group(group) => {
                    let path = format!("{path}/{}", group.name);
                    if group.options.significant && flags.auto_shutdown == AutoShutdown::Never {
                        return refuse(&path, SpecError::Significant);
                    }
                    if !names.insert(group.name.clone()) {
                        return refuse(&path, SpecError::SameName);
                    }
                    group.flatten(Some(me), &path, depth + 1, nodes)?;
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), SpecError> {
        check_name(&self.name)?;
        if self.options.flags.intensity.within.is_zero() {
            return Err(SpecError::Zero("the intensity's period".into()));
        }
        if self.options.significant && self.options.restart == Restart::Permanent {
            return Err(SpecError::Significant);
        }
        let is_static = self.options.template.is_none();
        let one_for_one = self.options.flags.strategy == Strategy::OneForOne;
        if is_static || (self.children.len() == 1 && one_for_one) { Ok(()) } else { Err(SpecError::Dynamic) }
    }
}

/// Whether this may be a child of a group with these flags.
pub(crate) fn check_child(request: &SpawnRequest, flags: Flags, is_template: bool) -> Result<(), SpecError> {
    let options = &request.options;
    options.check(request.name.as_deref())?;
    if options.significant && flags.auto_shutdown == AutoShutdown::Never {
        return Err(SpecError::Significant);
    }
    if options.intensity.is_some() {
        return Err(SpecError::IntensityInGroup);
    }
    if options.outlives_parent {
        return Err(SpecError::OutlivesNobody);
    }
    if is_template && request.name.is_some() {
        // Its instances have names of their own.
        return Err(SpecError::Dynamic);
    }
    Ok(())
}

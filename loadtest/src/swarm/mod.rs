//! Bots over real sockets, all on one thread. Reading notes the time and puts the message aside; sending goes by a fixed
//! schedule and before everything else; decoding and auditing fill the time between. So nobody is measured late because
//! somebody else was being decoded, and what was late nevertheless is counted.

mod around;
mod bot;
pub mod dialect;
pub mod hands;
mod pass;
mod returns;
mod schedule;
mod socket;
pub mod tales;
mod work;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use hdrhistogram::Histogram;
use nearcast::client::Mirror;
use nearcast::codec::message::{In, Out, View, Welcome};
use nearcast::codec::wire::{Heard, framed_len};
use nearcast::limits::TICK_US;
use tokio::sync::Notify;

pub use around::Around;
pub use bot::{BotPlan, Counts, SwarmPlan};
pub use returns::Returns;

use crate::audit::tally::{Tally, histogram};
use crate::audit::{Hole, LATE_KEPT, Player, Roster, Watch};
use crate::clock::{Clock, Offset};
use bot::{Arrival, Bot, INBOX_MAX, hello};
use dialect::Dialect;
use hands::{Account, Hands, Ledger};
use pass::{Come, Pass};
use schedule::{Due, Duty, Schedule};
use socket::{Alarm, Read, Socket};
use tales::{Tales, Told};

/// A `welcome` may take this long.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// A bot that left comes back after this long.
const AWAY: Duration = Duration::from_secs(1);
/// Each bot asks for its gateway's clock this often, µs: at first, and later, as the protocol advises.
const PING_FIRST_US: u64 = 1_000_000;
const PING_EVERY_US: u64 = 10_000_000;
/// So many come per second in a storm.
const STORM_JOINS_PER_S: u32 = 500;
/// Spreads phases evenly, whichever bots are compared: multiples of it fill a circle.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// What the swarm has counted since the start of the window.
#[derive(Clone, Debug)]
pub struct Counters {
    /// How late messages went out against the schedule, µs.
    pub send_late_us: Histogram<u64>,
    /// How long a message waited to be read after the runtime knew of it, µs.
    pub read_late_us: Histogram<u64>,
    /// Messages that a full socket did not take.
    pub blocked: u64,
    /// `refuse` by code.
    pub refusals: BTreeMap<String, u64>,
    /// Sessions that ended though nobody said bye, and the first reasons.
    pub lost: Vec<String>,
    /// How many those were.
    pub lost_count: u64,
    /// Ticks that any state showed.
    pub first_tick: u64,
    /// The last of them.
    pub last_tick: u64,
    /// How many different ones.
    pub ticks: u64,
    /// By tick: bots that got no state for it, though they did before and after. One entry a tick of the window.
    pub gaps: BTreeMap<u64, u32>,
    /// `stale: true` heard.
    pub stale: u64,
    /// From a command to its `ack`, µs.
    pub ack_us: Histogram<u64>,
    /// Commands that were refused, as is usual among several who use one thing.
    pub commands_refused: u64,
    /// Who lost the connection and came back.
    pub returns: Returns,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            send_late_us: histogram(),
            read_late_us: histogram(),
            blocked: 0,
            refusals: BTreeMap::new(),
            lost: Vec::new(),
            lost_count: 0,
            first_tick: 0,
            last_tick: 0,
            ticks: 0,
            gaps: BTreeMap::new(),
            stale: 0,
            ack_us: histogram(),
            commands_refused: 0,
            returns: Returns::default(),
        }
    }
}

/// Groups of bots whose figures are kept apart: those on a healthy link, and the others.
pub const GROUPS: usize = 2;
/// Reasons of lost sessions that are kept.
const REASONS_MAX: usize = 5;

/// A swarm. Cheap to share within its thread.
#[derive(Debug)]
pub struct Swarm {
    /// Its clock.
    pub clock: Clock,
    plan: SwarmPlan,
    bots: Vec<RefCell<Bot>>,
    roster: RefCell<Roster>,
    offsets: RefCell<Vec<Offset>>,
    schedule: RefCell<Schedule>,
    looks: RefCell<Schedule>,
    /// Bots with messages that have not been looked at.
    waiting: RefCell<VecDeque<u32>>,
    wake: Notify,
    /// Somebody came, was lost, or has read what was sent to it.
    news: Notify,
    joined: Cell<usize>,
    over: Cell<bool>,
    /// Nobody uses anything any more.
    at_rest: Cell<bool>,
    /// When the storm began, and who waits for it.
    storm_us: Cell<Option<u64>>,
    gate: Notify,
    window_us: Cell<u64>,
    /// The newest tick that anybody had been shown when the window began.
    window_tick: Cell<u64>,
    counters: RefCell<Counters>,
    ledger: RefCell<Ledger>,
    tales: RefCell<Tales>,
    /// Those of all windows before this one.
    returns: Cell<Returns>,
    /// Commands acknowledged when the last connection of all was lost.
    acked_before: Cell<Option<u64>>,
    tallies: RefCell<[Tally; GROUPS]>,
}

impl Swarm {
    /// Sends the bots in, at the pace of the plan. Must run in a `LocalSet`.
    #[must_use]
    pub fn start(plan: SwarmPlan) -> Rc<Swarm> {
        let clock = Clock::start();
        let player = |bot: &BotPlan| Player {
            agent: bot.agent.clone(),
            gateway: bot.gateway,
            one_way_us: bot.one_way_us,
            entity: None,
            phase_us: 0,
            said: None,
            late_us: [0; LATE_KEPT],
        };
        let players = plan.bots.iter().map(player).collect();
        let swarm = Rc::new(Swarm {
            clock,
            bots: plan.bots.iter().map(|_| RefCell::new(Bot::default())).collect(),
            roster: RefCell::new(Roster { players, ..Roster::default() }),
            offsets: RefCell::new(vec![Offset::default(); plan.gateways]),
            schedule: RefCell::default(),
            looks: RefCell::default(),
            waiting: RefCell::default(),
            wake: Notify::new(),
            news: Notify::new(),
            joined: Cell::new(0),
            over: Cell::new(false),
            at_rest: Cell::new(false),
            storm_us: Cell::new(None),
            gate: Notify::new(),
            window_us: Cell::new(0),
            window_tick: Cell::new(0),
            counters: RefCell::default(),
            ledger: RefCell::default(),
            tales: RefCell::default(),
            returns: Cell::default(),
            acked_before: Cell::default(),
            tallies: RefCell::default(),
            plan,
        });
        tokio::task::spawn_local(Rc::clone(&swarm).work());
        tokio::task::spawn_local(Rc::clone(&swarm).look_around());
        for number in 0..swarm.bots.len() {
            tokio::task::spawn_local(Rc::clone(&swarm).live(number));
        }
        swarm
    }

    /// Bots in session.
    #[must_use]
    pub fn joined(&self) -> usize {
        self.joined.get()
    }

    /// Waits until all bots are in, but for those who wait for the storm.
    ///
    /// # Errors
    /// When a session is lost meanwhile, or it takes longer than `within`.
    pub async fn all_joined(&self, within: Duration) -> Result<()> {
        let are_in = || self.joined() >= self.residents();
        let lost = || self.counters.borrow().lost.first().cloned();
        self.until(within, || are_in() || lost().is_some()).await;
        if are_in() {
            return Ok(());
        }
        if let Some(reason) = lost() {
            bail!("a bot could not stay while others were joining: {reason}");
        }
        bail!("{} of {} bots are in after {} s", self.joined(), self.residents(), within.as_secs())
    }

    /// Waits until something holds, and looks whenever a bot came, was lost, or has read what was sent to it. Whether it
    /// held in time.
    pub async fn until(&self, within: Duration, holds: impl Fn() -> bool) -> bool {
        let looking = async {
            loop {
                let news = self.news.notified();
                if holds() {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(within, looking).await.is_ok()
    }

    /// Starts a window: counts and histograms from now on.
    pub fn begin(&self) {
        self.window_us.set(self.clock.now_us());
        self.window_tick.set(self.counters.borrow().last_tick);
        self.returns.set(self.returns());
        *self.counters.borrow_mut() = Counters::default();
        self.tallies.borrow_mut().iter_mut().for_each(Tally::restart);
        for bot in &self.bots {
            let mut bot = bot.borrow_mut();
            bot.counts = Counts { whole: bot.socket.is_some(), ..Counts::default() };
        }
    }

    /// The window so far.
    #[must_use]
    pub fn window(&self) -> Window {
        Window {
            seconds: self.clock.now_us().saturating_sub(self.window_us.get()) as f64 / 1e6,
            bots: self.counts(),
            groups: self.plan.bots.iter().map(|plan| plan.group).collect(),
            held: self.held(),
            counters: self.counters.borrow().clone(),
            tallies: self.tallies.borrow().clone(),
        }
    }

    /// By bot: what it has counted since the start of the window.
    #[must_use]
    pub fn counts(&self) -> Vec<Counts> {
        (0..self.bots.len()).map(|number| self.counts_of(number)).collect()
    }

    /// What became of all that was said since the start.
    #[must_use]
    pub fn told(&self) -> Told {
        self.tales.borrow().told()
    }

    /// Who lost the connection and came back, since the start.
    #[must_use]
    pub fn returns(&self) -> Returns {
        self.returns.get().and(&self.counters.borrow().returns)
    }

    /// Commands acknowledged, since the start.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.ledger.borrow().account().acked + self.tales.borrow().told().acked
    }

    /// The same at the time when nobody had a connection any more; `None` if that was never so.
    #[must_use]
    pub fn acked_before(&self) -> Option<u64> {
        self.acked_before.get()
    }

    /// The world's log had so many records when the bots came, by partition of `events`.
    pub fn found_log(&self, ends: &BTreeMap<u16, u64>) {
        self.ledger.borrow_mut().begin(ends);
    }

    /// The objects that anybody knows of.
    #[must_use]
    pub fn objects(&self) -> std::collections::BTreeSet<nearcast::codec::message::Id> {
        self.ledger.borrow().ids()
    }

    /// What became of all wishes about things since the start; and how many commands have no answer yet.
    #[must_use]
    pub fn account(&self) -> (Account, usize) {
        let open = self.bots.iter().filter_map(|bot| bot.borrow().hands.as_ref().map(Hands::open)).sum();
        (self.ledger.borrow().account(), open)
    }

    /// From now on nobody wishes anything of things: so that what was wished can be looked at.
    pub fn rest_hands(&self) {
        self.at_rest.set(true);
    }

    /// By bot that keeps a table: entities held now.
    #[must_use]
    pub fn held(&self) -> Vec<usize> {
        self.keeping().map(RefCell::borrow).map(|bot| bot.mirror.len() + bot.shown.others).collect()
    }

    /// Those who keep a table.
    fn keeping(&self) -> impl Iterator<Item = &RefCell<Bot>> {
        self.bots.iter().zip(&self.plan.bots).filter_map(|(bot, plan)| plan.keeps.then_some(bot))
    }

    /// A bot's counts, with the ticks since its last state. Those that may still be on their way to it are left out.
    fn counts_of(&self, number: usize) -> Counts {
        let bot = self.bots[number].borrow();
        let counts = Counts { keeps: self.plan.bots[number].keeps, ..bot.counts };
        let way_ticks = self.plan.bots[number].one_way_us.div_ceil(TICK_US);
        let newest = self.counters.borrow().last_tick.saturating_sub(way_ticks);
        if bot.watch.is_none() {
            return counts;
        }
        let shown = bot.mirror.tick().max(self.window_tick.get());
        let hole = Hole::between(shown, newest, &bot.mirror, &self.client(number), &self.roster.borrow());
        Counts { quiet: bot.counts.quiet + hole.quiet, audited: true, ..counts }
    }

    /// All bots say bye; returns when the gateway has had time to answer.
    pub async fn stop(&self) {
        self.over.set(true);
        (0..self.bots.len()).for_each(|number| self.leave(number));
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.close();
    }

    /// All sockets close at once.
    pub fn close(&self) {
        self.over.set(true);
        self.bots.iter().for_each(|bot| bot.borrow_mut().socket = None);
        self.wake.notify_one();
    }

    /// One bot's life: joins at its turn, reads until the end; with a life of given length, again and again.
    async fn live(self: Rc<Self>, number: usize) {
        let residents = self.residents();
        let (first_us, turn, joins_per_s) = match number.checked_sub(residents) {
            None => (0, number, self.plan.joins_per_s),
            Some(turn) => (self.storm_began_us().await, turn, STORM_JOINS_PER_S),
        };
        let turn_us = first_us + turn as u64 * 1_000_000 / u64::from(joins_per_s.max(1));
        tokio::time::sleep_until(self.clock.at(turn_us)).await;
        while !self.over.get() {
            let ended = match self.join(number).await {
                Ok(()) => {
                    let ended = self.read(number).await;
                    // What came before the end counts, a `bye` above all.
                    self.decode(number);
                    ended
                }
                Err(error) => format!("{error:#}"),
            };
            let left = self.left(number);
            if !left && !self.over.get() {
                match self.wait_to_return(number, &ended) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return,
                }
                continue;
            }
            if self.plan.bots[number].life_us.is_none() {
                return;
            }
            tokio::time::sleep(AWAY).await;
        }
    }

    /// Bots who do not wait for the storm.
    fn residents(&self) -> usize {
        self.bots.len() - self.plan.storm
    }

    /// Lets the others in, at the pace of a storm.
    pub fn storm(&self) {
        self.storm_us.set(Some(self.clock.now_us()));
        self.gate.notify_waiters();
    }

    async fn storm_began_us(&self) -> u64 {
        loop {
            let opens = self.gate.notified();
            if let Some(at_us) = self.storm_us.get() {
                return at_us;
            }
            opens.await;
        }
    }

    async fn join(&self, number: usize) -> Result<()> {
        let plan = &self.plan;
        self.bots[number].borrow_mut().renew();
        let mut socket = Socket::open(plan.bots[number].addr, plan.dialect).await?;
        let view = View { radius: Some(plan.radius_m), budget: Some(plan.budget) };
        let sent_us = self.clock.now_us();
        let resume = self.bots[number].borrow().resume();
        if let Some(hello) = plan.dialect.encode(&hello(number, &plan.world, view, resume))
            && !socket.write(hello)
        {
            bail!("the socket does not take `hello`");
        }
        let alarm = Alarm::new(self.clock);
        let first = tokio::time::timeout(WELCOME_WITHIN, async {
            loop {
                match poll_fn(|cx| socket.poll_read(&alarm, cx)).await {
                    Read::Message(bytes, _) => return Ok(bytes),
                    Read::Control => {}
                    Read::End(reason) => return Err(anyhow!("{reason}")),
                }
            }
        });
        let bytes = first.await.map_err(|_| anyhow!("no `welcome` within 10 s"))?.context("instead of `welcome`")?;
        let Dialect::Nearcast(encoding) = plan.dialect else {
            plan.dialect.answer().into_iter().for_each(|answer| _ = socket.write(answer));
            self.roster.borrow_mut().players[number].entity = Some(number as u64 + 1);
            self.begin_session(number, socket, framed_len(bytes.len()));
            return Ok(());
        };
        let heard = encoding.decode_out(&mut self.bots[number].borrow_mut().known, &bytes);
        let Ok(Heard::Other(Out::Welcome(welcome))) = heard else {
            bail!("the first message is no `welcome`: {heard:?}");
        };
        let gateway = plan.bots[number].gateway;
        self.offsets.borrow_mut()[gateway].measured(sent_us, self.clock.now_us(), welcome.time * 1e3);
        self.welcome(number, &welcome);
        self.begin_session(number, socket, framed_len(bytes.len()));
        Ok(())
    }

    /// Who it is from now on, and whether that is who it was.
    fn welcome(&self, number: usize, welcome: &Welcome) {
        let mut bot = self.bots[number].borrow_mut();
        let away_us = self.clock.now_us().saturating_sub(bot.pass.lost_us);
        let come = bot.pass.welcome(welcome);
        let mut counters = self.counters.borrow_mut();
        match come {
            Come::New => {}
            Come::Back => {
                counters.returns.resumed(away_us, bot.hands.as_ref().map_or(0, Hands::open));
                bot.hands.iter_mut().for_each(Hands::came_back);
            }
            Come::Changed(before) => {
                counters.returns.not_resumed += 1;
                bot.hands = None;
                let mut tales = self.tales.borrow_mut();
                tales.ended(before);
                tales.excuse(number as u32);
            }
        }
        self.roster.borrow_mut().players[number].entity = Some(welcome.entity);
    }

    /// Plans what it does from now on.
    fn begin_session(&self, number: usize, socket: Socket, bytes: usize) {
        let now_us = self.clock.now_us();
        let plan = &self.plan.bots[number];
        let mut bot = self.bots[number].borrow_mut();
        (bot.socket, bot.welcome_us) = (Some(socket), now_us);
        let session = bot.session;
        let phase_us = ((number as f64 * GOLDEN).fract() * TICK_US as f64) as u64;
        let first_us = now_us.saturating_sub(phase_us).next_multiple_of(TICK_US) + phase_us;
        {
            let mut roster = self.roster.borrow_mut();
            let player = &mut roster.players[number];
            (player.phase_us, player.said) = (first_us, None);
            let entity = player.entity;
            entity.into_iter().for_each(|entity| _ = roster.by_entity.insert(entity, number as u32));
        }
        let due = |at_us, duty| Due { at_us, bot: number as u32, session, duty };
        let mut schedule = self.schedule.borrow_mut();
        schedule.push(due(first_us, Duty::Move));
        schedule.push(due(now_us, Duty::Ping));
        if let Some(every_us) = plan.uses_us {
            bot.hands.get_or_insert_with(|| Hands::new(number, plan.manner));
            schedule.push(due(now_us + every_us, Duty::Use));
        }
        plan.life_us.into_iter().for_each(|life| schedule.push(due(now_us + life, Duty::Leave)));
        if plan.audited {
            let mut watch = Watch::new(now_us);
            watch.bytes(bytes, &self.client(number), now_us, &mut self.tallies.borrow_mut()[plan.group]);
            bot.watch = Some(watch);
            let spread_us = (number as u64 * 7_919) % TICK_US;
            self.looks.borrow_mut().push(due(now_us + spread_us, Duty::Look));
        }
        self.joined.set(self.joined.get() + 1);
        self.wake.notify_one();
        self.news.notify_waiters();
    }

    /// Reads until the socket ends; why it did.
    async fn read(&self, number: usize) -> String {
        let alarm = Alarm::new(self.clock);
        loop {
            let read = poll_fn(|cx| match &mut self.bots[number].borrow_mut().socket {
                Some(socket) => socket.poll_read(&alarm, cx),
                None => std::task::Poll::Ready(Read::End("closed by ourselves".to_owned())),
            });
            match read.await {
                Read::Message(bytes, waited_us) => {
                    let received_us = self.clock.now_us();
                    if let Some(late_us) = waited_us {
                        self.counters.borrow_mut().read_late_us.saturating_record(late_us);
                    }
                    let mut bot = self.bots[number].borrow_mut();
                    if bot.inbox.is_empty() {
                        self.waiting.borrow_mut().push_back(number as u32);
                    }
                    if bot.inbox.len() == INBOX_MAX {
                        return format!("{INBOX_MAX} messages wait to be decoded: the swarm is too slow");
                    }
                    bot.inbox.push_back(Arrival { received_us, bytes });
                    drop(bot);
                    self.send_due();
                    self.wake.notify_one();
                }
                Read::Control => {}
                Read::End(reason) => return reason,
            }
        }
    }

    fn leave(&self, number: usize) {
        let mut bot = self.bots[number].borrow_mut();
        bot.leaving = true;
        let bye = self.plan.dialect.encode(&In::Bye(nearcast::codec::message::ByeIn {}));
        if let (Some(socket), Some(bye)) = (&mut bot.socket, bye) {
            socket.write(bye);
            self.roster.borrow_mut().players[number].entity = None;
        }
    }

    /// Clears up after a session; whether it had said bye.
    fn left(&self, number: usize) -> bool {
        let mut bot = self.bots[number].borrow_mut();
        let player = &mut self.roster.borrow_mut().players[number];
        (player.entity, player.said) = (None, None);
        if bot.socket.take().is_some() {
            self.joined.set(self.joined.get() - 1);
        }
        bot.mirror = Mirror::default();
        bot.inbox.clear();
        if bot.leaving {
            // It has said bye: the session is over for good.
            bot.pass = Pass::default();
        }
        bot.leaving
    }

    fn lost(&self, number: usize, reason: &str) {
        let mut counters = self.counters.borrow_mut();
        counters.lost_count += 1;
        if counters.lost.len() < REASONS_MAX {
            counters.lost.push(format!("bot {number}: {reason}"));
        }
        self.news.notify_waiters();
    }
}

/// What a window of time held.
#[derive(Clone, Debug)]
pub struct Window {
    /// How long it was.
    pub seconds: f64,
    /// By bot.
    pub bots: Vec<Counts>,
    /// By bot: its group.
    pub groups: Vec<usize>,
    /// By bot: entities held now.
    pub held: Vec<usize>,
    /// The swarm's own counts.
    pub counters: Counters,
    /// The audit's, by group.
    pub tallies: [Tally; GROUPS],
}

//! The lean policy: what is worth holding on this node, learned from how its pods come and how long its cloud calls take.
//!
//! The pool holds what its pods have plus the pods that may come before a call made now is answered: the stock that covers a lead
//! time. Whole numbers only, so that the same inputs give the same forecast on every machine; each step costs the same however
//! many addresses there are. Nothing of it is written down: after a restart the call times are guessed high and no pod is expected.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::backoff::{Action, later};

/// One, in numbers with a fixed point.
const ONE: u64 = 1 << 20;
/// A node that expects nothing still serves one pod at once.
const FLOOR: u32 = 1;
/// The half-life of the count that follows the arrivals closely, in milliseconds.
const FAST: u64 = 10_000;
/// The half-life of the count that remembers whether pods keep coming.
const SLOW: u64 = 120_000;
/// The fast rate is believed up to this many times the slow one: a single burst does not tell of another.
const TRUST: u64 = 3;
/// Pods that come after a pause of this length are another burst.
const QUIET: SignedDuration = SignedDuration::from_secs(10);
/// The half-life of the memory of a burst's size.
const BURST_MEMORY: u64 = 300_000;
/// What is over is given back after it was over for this long, so that pods that come and go do not cost calls.
const HOLD: SignedDuration = SignedDuration::from_secs(120);
/// While more than the floor is held the forecast is made anew this often, because it sinks without any event.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(15);

fn milliseconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

fn to_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A number that halves in each half-life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decaying {
    value: u64,
    as_of: Timestamp,
    half_life: u64,
}

impl Decaying {
    fn new(half_life: u64, now: Timestamp) -> Self {
        Self { value: 0, as_of: now, half_life }
    }

    fn at(&self, now: Timestamp) -> u64 {
        let elapsed = milliseconds(self.as_of, now);
        let halved = u32::try_from(elapsed / self.half_life).ok().and_then(|times| self.value.checked_shr(times));
        let part = (elapsed % self.half_life) * ONE / self.half_life;
        // 2^-x for x below 1 by its parabola through both ends: right within 1 %.
        let bend = (ONE * 6_931 / 10_000) - (ONE * 1_931 / 10_000) * part / ONE;
        let factor = ONE - bend * part / ONE;
        u64::try_from(u128::from(halved.unwrap_or(0)) * u128::from(factor) / u128::from(ONE)).unwrap_or(u64::MAX)
    }

    fn set(&mut self, value: u64, now: Timestamp) {
        self.value = value;
        self.as_of = now;
    }

    fn add(&mut self, amount: u64, now: Timestamp) {
        self.set(self.at(now).saturating_add(amount), now);
    }
}

/// What a count of this value says of the next `lead` milliseconds: its rate is its value × ln 2 ÷ half-life.
fn expected(value: u64, half_life: u64, lead: u64) -> u64 {
    // Wide numbers cost ten times as much, and are hardly ever needed.
    match lead.checked_mul(6_931).and_then(|weight| value.checked_mul(weight)) {
        Some(product) => product / (10_000 * half_life),
        None => {
            let product = u128::from(value) * u128::from(lead) * 6_931;
            u64::try_from(product / (10_000 * u128::from(half_life))).unwrap_or(u64::MAX)
        }
    }
}

/// How closely followed, and how slowly forgotten, the arrivals are at one moment.
#[derive(Clone, Copy, Debug)]
struct Arrivals {
    fast: u64,
    slow: u64,
}

impl Arrivals {
    fn expected_in(self, lead: u64) -> u64 {
        expected(self.fast, FAST, lead).min(expected(self.slow, SLOW, lead).saturating_mul(TRUST))
    }

    /// The stock of which 99 of 100 pods find an address left: it is empty for a pod before which as many came within `lead`. For
    /// arrivals independent of each other that is one more than their mean and 2.4 roots of it.
    fn demand_in(self, lead: u64) -> u32 {
        let mean = self.expected_in(lead);
        if mean <= ONE / 100 {
            return FLOOR;
        }
        let root = mean.saturating_mul(ONE).isqrt();
        to_u32(mean.saturating_add(root * 24 / 10).div_ceil(ONE)).saturating_add(1)
    }
}

/// How long an action takes, in milliseconds: what was slow is believed at once, and forgotten by an eighth with each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CallTime(u64);

impl CallTime {
    fn measured(&mut self, took: u64) {
        let took = took.clamp(50, 60_000);
        self.0 = took.max(self.0 - self.0.saturating_sub(took) / 8);
    }
}

/// The sizes of bursts: only one that came back is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bursts {
    last_arrival: Option<Timestamp>,
    window_since: Timestamp,
    in_window: u64,
    /// The most pods within one lead time, of the burst that runs or ran last.
    latest: Decaying,
    /// The same of the largest burst before it.
    earlier: Decaying,
}

impl Bursts {
    /// A pod that asked at `asked` got an address: those that asked together are one clump, however slowly they are served.
    fn arrived(&mut self, lead: u64, asked: Timestamp, now: Timestamp) {
        if self.last_arrival.is_none_or(|last| later(last, QUIET) < asked) {
            self.earlier.set(self.earlier.at(now).max(self.latest.at(now)), now);
            self.latest.set(0, now);
            self.in_window = 0;
        }
        if self.in_window == 0 || milliseconds(self.window_since, asked) >= lead {
            self.window_since = asked;
            self.in_window = 0;
        }
        self.in_window += 1;
        self.latest.set(self.latest.at(now).max(self.in_window.saturating_mul(ONE)), now);
        self.last_arrival = Some(asked);
    }

    fn recurring(&self, now: Timestamp) -> u32 {
        to_u32((self.latest.at(now).min(self.earlier.at(now)) + ONE / 2) / ONE)
    }
}

/// What was over for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Surplus {
    /// When the stretch of time began that is watched now; `None` while nothing is over.
    since: Option<Timestamp>,
    /// The least that was over in it.
    least: u32,
    /// The least that was over in the whole stretch before it.
    lasted: u32,
}

impl Surplus {
    /// Takes in what is over now; returns what was over for at least [`HOLD`].
    fn watched(&mut self, over: u32, now: Timestamp) -> u32 {
        match self.since {
            _ if over == 0 => *self = Self::default(),
            None => *self = Self { since: Some(now), least: over, lasted: 0 },
            Some(since) if later(since, HOLD) <= now => {
                *self = Self { since: Some(now), least: over, lasted: self.least.min(over) };
            }
            Some(_) => {
                self.least = self.least.min(over);
                self.lasted = self.lasted.min(over);
            }
        }
        self.lasted
    }
}

/// What the pool has now, as far as the forecast needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stock {
    /// Free or on their way, less those that pods wait for; negative when more are wanted.
    pub(crate) available: i64,
    pub(crate) pods_wait: bool,
    pub(crate) cooling: u32,
    /// Addresses that interfaces in service could still take.
    pub(crate) room: u32,
    /// Whether the node may have another interface; otherwise what is in service is all that there will be.
    pub(crate) interface_may_come: bool,
    pub(crate) cooldown: SignedDuration,
}

/// What the lean policy wants to hold, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Free addresses to hold.
    pub warm: u32,
    /// Addresses that end their cool-down within the lead time.
    pub coming: u32,
    /// Free addresses that were over for long enough to be given back.
    pub spare: u32,
    /// How long a call takes that brings addresses.
    pub lead_milliseconds: u64,
    /// Pods per hour that the arrivals tell of.
    pub pods_per_hour: u32,
    /// The size of a burst that came back.
    pub burst: u32,
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { warm, coming, lead_milliseconds: lead, pods_per_hour, burst, .. } = self;
        write!(f, "the lean policy holds {warm} free: {pods_per_hour} pods/h arrive, ")?;
        write!(f, "a call takes {}.{} s, bursts of {burst} recur, ", lead / 1000, lead % 1000 / 100)?;
        write!(f, "{coming} cooling down return meanwhile")
    }
}

/// What the node has learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lean {
    fast: Decaying,
    slow: Decaying,
    bursts: Bursts,
    assign: CallTime,
    create: CallTime,
    attach: CallTime,
    surplus: Surplus,
}

impl Lean {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            fast: Decaying::new(FAST, now),
            slow: Decaying::new(SLOW, now),
            bursts: Bursts {
                last_arrival: None,
                window_since: now,
                in_window: 0,
                latest: Decaying::new(BURST_MEMORY, now),
                earlier: Decaying::new(BURST_MEMORY, now),
            },
            assign: CallTime(1_000),
            create: CallTime(2_000),
            attach: CallTime(8_000),
            surplus: Surplus::default(),
        }
    }

    /// A pod that asked at `asked` got an address.
    pub(crate) fn arrived(&mut self, asked: Timestamp, now: Timestamp) {
        self.fast.add(ONE, now);
        self.slow.add(ONE, now);
        self.bursts.arrived(self.assign_lead(), asked, now);
    }

    /// A call that was started at `since` has succeeded.
    pub(crate) fn answered(&mut self, action: Action, since: Timestamp, now: Timestamp) {
        let time = match action {
            Action::Assign => &mut self.assign,
            Action::Create => &mut self.create,
            Action::Attach => &mut self.attach,
            Action::DescribeSubnets
            | Action::DescribeInterfaces
            | Action::Prepare
            | Action::Unassign
            | Action::Release => return,
        };
        time.measured(milliseconds(since, now));
    }

    /// An interface takes one call at a time, so a need may have to wait for the call before it.
    fn assign_lead(&self) -> u64 {
        2 * self.assign.0
    }

    fn create_lead(&self) -> u64 {
        self.create.0 + self.attach.0
    }

    /// What is worth holding now.
    pub(crate) fn forecast(&mut self, stock: &Stock, now: Timestamp) -> Forecast {
        // Pods that came at once tell of a burst; only what came beside the largest clump of them tells of a stream.
        let beside = self.slow.at(now).saturating_sub(self.bursts.latest.at(now));
        let arrivals = Arrivals { fast: self.fast.at(now), slow: beside };
        let soon = arrivals.demand_in(self.assign_lead());
        let with_interface = arrivals.demand_in(self.create_lead());
        // Where the interfaces have room the next addresses are one call away; otherwise an interface has to come first. Pods that
        // wait already bring interfaces, and those bring room.
        let (expected, lead) = if stock.pods_wait || !stock.interface_may_come || stock.room >= with_interface {
            (soon, self.assign_lead())
        } else {
            (with_interface, self.create_lead())
        };
        let burst = self.bursts.recurring(now);
        let warm = expected.max(burst).max(FLOOR);
        let cooldown = u64::try_from(stock.cooldown.as_millis()).unwrap_or(0).max(1);
        let coming = to_u32(u64::from(stock.cooling) * lead.min(cooldown) / cooldown);
        let over = u32::try_from((stock.available - i64::from(warm)).max(0)).unwrap_or(u32::MAX);
        let spare = self.surplus.watched(over, now);
        let hourly = to_u32((arrivals.expected_in(3_600_000) + ONE / 2) / ONE);
        Forecast { warm, coming, spare, lead_milliseconds: lead, pods_per_hour: hourly, burst }
    }

    /// Something was given back: what else is over has to last as long again.
    pub(crate) fn gave_back(&mut self) {
        self.surplus = Surplus::default();
    }

    /// When the forecast should be made anew though nothing happens.
    pub(crate) fn look_again(&self, forecast: &Forecast, now: Timestamp) -> Option<Timestamp> {
        let sinking = (forecast.warm > FLOOR).then(|| later(now, LOOK_AGAIN));
        let lasting = self.surplus.since.map(|since| later(since, HOLD));
        sinking.into_iter().chain(lasting).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn after(milliseconds: i64) -> Timestamp {
        later(start(), SignedDuration::from_millis(milliseconds))
    }

    fn stock(available: i64) -> Stock {
        let cooldown = SignedDuration::from_secs(30);
        Stock { available, pods_wait: false, cooling: 0, room: 1000, interface_may_come: true, cooldown }
    }

    #[test]
    fn a_count_halves_in_its_half_life_however_often_it_is_touched() {
        let mut often = Decaying::new(FAST, start());
        often.set(1000 * ONE, start());
        let once = often;
        for step in 1..=1000 {
            often.add(0, after(step * 10));
        }
        for (name, count) in [("often", often), ("once", once)] {
            let left = count.at(after(10_000)) / ONE;
            assert!((495..=505).contains(&left), "{name}: {left}");
        }
        assert!((700..=710).contains(&(once.at(after(5_000)) / ONE)));
        assert_eq!(once.at(after(10_000_000)), 0);
    }

    #[test]
    fn an_idle_node_holds_one() {
        let mut lean = Lean::new(start());
        assert_eq!(lean.forecast(&stock(0), start()).warm, 1);
        for n in 0..20 {
            lean.arrived(after(n * 60_000), after(n * 60_000));
        }
        assert_eq!(lean.forecast(&stock(0), after(20 * 60_000)).warm, 1);
    }

    #[test]
    fn a_steady_stream_is_covered_for_one_round_trip() {
        let mut lean = Lean::new(start());
        for n in 0..600 {
            lean.arrived(after(n * 250), after(n * 250));
        }
        let now = after(600 * 250);
        let near = lean.forecast(&stock(0), now);
        // Four pods a second, two seconds of lead time: 8 expected; 16 are enough in 99 of 100 cases.
        assert!((14..=17).contains(&near.warm), "{near:?}");
        let far = lean.forecast(&Stock { room: 0, ..stock(0) }, now);
        assert!((50..=60).contains(&far.warm), "an interface takes ten seconds: {far:?}");
        let last = lean.forecast(&Stock { room: 0, interface_may_come: false, ..stock(0) }, now);
        assert_eq!(last.warm, near.warm, "no interface can come, so there is none to be ahead of");
        assert_eq!(lean.forecast(&stock(0), after(600 * 250 + 120_000)).warm, 1, "it ends when the stream ends");
    }

    #[test]
    fn a_burst_that_is_served_over_seconds_is_no_stream() {
        let mut lean = Lean::new(start());
        for n in 0..40 {
            lean.arrived(start(), after(n * 60));
        }
        let forecast = lean.forecast(&Stock { room: 0, ..stock(2) }, after(2_400));
        assert_eq!(forecast.warm, 1, "{forecast:?}");
    }

    #[test]
    fn one_burst_does_not_tell_of_another_and_two_do() {
        let mut lean = Lean::new(start());
        for _ in 0..40 {
            lean.arrived(start(), start());
        }
        assert_eq!(lean.forecast(&Stock { room: 0, ..stock(0) }, after(2_000)).warm, 1, "nothing came beside it");
        for _ in 0..8 {
            lean.arrived(after(60_000), after(60_000));
        }
        assert_eq!(lean.forecast(&stock(0), after(61_000)).burst, 8);
        assert_eq!(lean.forecast(&stock(0), after(3_600_000)).warm, 1, "it is forgotten within the hour");
    }

    #[test]
    fn call_times_rise_at_once_and_sink_slowly() {
        let mut lean = Lean::new(start());
        lean.answered(Action::Assign, start(), after(4_000));
        assert_eq!(lean.assign, CallTime(4_000));
        for _ in 0..8 {
            lean.answered(Action::Assign, start(), after(400));
        }
        assert!((1_000..2_000).contains(&lean.assign.0), "{:?}", lean.assign);
    }

    #[test]
    fn what_is_over_is_spare_only_when_it_was_over_for_long() {
        let mut lean = Lean::new(start());
        assert_eq!(lean.forecast(&stock(9), start()).spare, 0);
        assert_eq!(lean.forecast(&stock(4), after(60_000)).spare, 0);
        assert_eq!(lean.forecast(&stock(9), after(120_000)).spare, 3, "the least that was over in between");
        assert_eq!(lean.forecast(&stock(9), after(240_000)).spare, 8, "a while later all of it has lasted");
        assert_eq!(lean.forecast(&stock(1), after(241_000)).spare, 0);
        assert_eq!(lean.forecast(&stock(9), after(242_000)).spare, 0, "the time begins anew");
    }
}

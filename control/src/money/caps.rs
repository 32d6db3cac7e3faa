//! What a tenant may have and spend, how much of it is used, and the words of a refusal or a warning.
//!
//! Every machine reserves its whole worst case when it is asked for, and what it really cost takes the reservation's
//! place when it is gone. What was spent in a period plus what every machine may still cost therefore never exceeds the
//! period's cap, and since no later than its end a reservation is either spent or given back, neither does the next
//! period's. Only what nobody could reserve breaks that: prices that rose, a machine held on purpose. The alarm looks.

use crate::amount::Amount;
use crate::policy::Policy;
use ebbtide_api::Timestamp;
use ebbtide_api::text::money;
use serde::{Deserialize, Serialize};

/// Bounds of a tenant; `None` where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// Workspaces on record, asleep ones included.
    pub workspaces: Option<u64>,
    /// Machines at a time.
    pub machines: Option<u64>,
    /// Spending on a day, in UTC.
    pub day: Option<Amount>,
    /// Spending in a calendar month, in UTC.
    pub month: Option<Amount>,
}

/// A period with a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A day in UTC.
    Day,
    /// A calendar month in UTC.
    Month,
}

impl Period {
    /// Name of the cap in the policy.
    pub const fn cap(self) -> &'static str {
        match self {
            Self::Day => "spend_per_day",
            Self::Month => "spend_per_month",
        }
    }

    /// As people call its cap.
    const fn name(self) -> &'static str {
        match self {
            Self::Day => "daily",
            Self::Month => "monthly",
        }
    }

    const fn now(self) -> &'static str {
        match self {
            Self::Day => "today",
            Self::Month => "this month",
        }
    }

    /// When the period of a moment began.
    pub fn start(self, at: Timestamp) -> Timestamp {
        let day = super::bill::Day::of(at);
        match self {
            Self::Day => day.start(),
            Self::Month => day.month_start().start(),
        }
    }
}

/// How much of a period's cap is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Hours that have started.
    pub spent: Amount,
    /// What running and requested machines may still cost.
    pub reserved: Amount,
}

impl Spent {
    /// Both.
    pub fn committed(self) -> Amount {
        self.spent.plus(self.reserved)
    }
}

/// How a tenant stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapUsage {
    /// Workspaces on record.
    pub workspaces: u64,
    /// Machines that exist or are asked for.
    pub machines: u64,
    /// Today.
    pub day: Spent,
    /// This month.
    pub month: Spent,
    /// Currency of the amounts; empty before the first machine.
    pub currency: String,
}

impl CapUsage {
    /// How a period stands.
    pub fn of(&self, period: Period) -> Spent {
        match period {
            Period::Day => self.day,
            Period::Month => self.month,
        }
    }
}

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Workspaces more than there are.
    pub workspaces: u64,
    /// Machines more than there are.
    pub machines: u64,
    /// What may be spent beyond what is committed.
    pub amount: Amount,
}

/// Why a demand exceeds a cap, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the cap in the policy.
    pub cap: &'static str,
    /// Which cap, how much of it is used, how much more was asked for.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Caps {
    /// Bounds of every tenant.
    pub fn of(policy: &Policy) -> Self {
        Self {
            workspaces: policy.max_workspaces,
            machines: policy.max_machines,
            day: policy.spend_per_day,
            month: policy.spend_per_month,
        }
    }

    /// A period's cap.
    pub fn amount(&self, period: Period) -> Option<Amount> {
        match period {
            Period::Day => self.day,
            Period::Month => self.month,
        }
    }

    /// The first cap that a demand would exceed; `None` where it fits.
    pub fn refuse(&self, usage: &CapUsage, demand: Demand) -> Option<Refusal> {
        let counted = [
            ("max_workspaces", "workspaces exist", usage.workspaces, demand.workspaces, self.workspaces),
            ("max_machines", "machines run or are asked for", usage.machines, demand.machines, self.machines),
        ];
        for (cap, what, used, more, most) in counted {
            if let Some(most) = most.filter(|most| more > 0 && used.saturating_add(more) > *most) {
                let end =
                    if cap == "max_workspaces" { "Delete a workspace" } else { "Put a workspace to sleep" };
                return Some(Refusal {
                    cap,
                    message: format!("the cap {cap} is reached: {used} of {most} {what}"),
                    hint: format!("{end}, or raise {cap} in the installation's POLICY."),
                });
            }
        }
        [Period::Day, Period::Month].into_iter().find_map(|period| {
            let (most, used) = (self.amount(period)?, usage.of(period));
            let fits = used.committed().plus(demand.amount) <= most;
            (!fits && demand.amount > Amount(0)).then(|| self.too_dear(period, most, usage, demand.amount))
        })
    }

    fn too_dear(&self, period: Period, most: Amount, usage: &CapUsage, demand: Amount) -> Refusal {
        let (cap, used) = (period.cap(), usage.of(period));
        let money = |amount: Amount| money(&amount.to_string(), &usage.currency);
        Refusal {
            cap,
            message: format!(
                "{} cap {}: {} spent, {} reserved, this needs {}",
                period.name(),
                money(most),
                money(used.spent),
                money(used.reserved),
                money(demand)
            ),
            hint: format!(
                "Choose a shorter lifetime or a smaller size, end a workspace, or raise {cap} in the \
                 installation's POLICY."
            ),
        }
    }
}

/// How much of a tenant's money is spent, as the alarm of a machine learns it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spending {
    /// Today.
    pub day: Amount,
    /// This month.
    pub month: Amount,
    /// ISO 4217.
    pub currency: String,
}

/// What follows from a look at the spending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alert {
    /// Told once to each machine.
    Warn(Period, String),
    /// More is spent than may be: the machine is drained.
    Exceeded(Period, String),
}

/// Compares spending with the caps; an exceeded cap comes first.
pub fn alerts(spending: &Spending, policy: &Policy) -> Vec<Alert> {
    let caps = Caps::of(policy);
    let mut alerts = Vec::new();
    for (period, spent) in [(Period::Day, spending.day), (Period::Month, spending.month)] {
        let Some(most) = caps.amount(period) else { continue };
        let (cap, now, percent) = (period.cap(), period.now(), spent.percent_of(most));
        let amount = |amount: Amount| money(&amount.to_string(), &spending.currency);
        let used =
            format!("{} of {} are spent {now}, {percent} % of the cap {cap}", amount(spent), amount(most));
        if spent > most {
            let text = format!("the cap {cap} is exceeded: {used}");
            alerts.insert(0, Alert::Exceeded(period, text));
        } else if percent >= u64::from(policy.spend_warning_percent) {
            alerts.push(Alert::Warn(period, format!("{used}; beyond it no machine starts")));
        }
    }
    alerts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps() -> Caps {
        Caps {
            workspaces: Some(3),
            machines: Some(2),
            day: Some(Amount::whole(1)),
            month: Some(Amount::whole(5)),
        }
    }

    fn usage(workspaces: u64, machines: u64, day: (u64, u64), month: (u64, u64)) -> CapUsage {
        let spent = |(spent, reserved)| Spent { spent: Amount(spent), reserved: Amount(reserved) };
        CapUsage { workspaces, machines, day: spent(day), month: spent(month), currency: "EUR".into() }
    }

    fn spawn(amount: u64) -> Demand {
        Demand { workspaces: 1, machines: 1, amount: Amount(amount) }
    }

    fn check(usage: &CapUsage, demand: Demand, wanted: Option<&str>) {
        let refusal = caps().refuse(usage, demand);
        assert_eq!(refusal.as_ref().map(|refusal| refusal.cap), wanted, "{usage:?} {refusal:?}");
    }

    #[test]
    fn what_fits_exactly_is_granted_and_a_millionth_more_is_not() {
        check(&usage(2, 1, (400_000, 400_000), (0, 0)), spawn(200_000), None);
        check(&usage(2, 1, (400_000, 400_000), (0, 0)), spawn(200_001), Some("spend_per_day"));
        check(&usage(2, 1, (0, 0), (4_900_000, 0)), spawn(200_000), Some("spend_per_month"));
        check(&usage(3, 1, (0, 0), (0, 0)), spawn(1), Some("max_workspaces"));
        check(&usage(2, 2, (0, 0), (0, 0)), spawn(1), Some("max_machines"));
    }

    #[test]
    fn a_wake_needs_no_workspace_and_an_extension_no_machine() {
        check(&usage(3, 1, (0, 0), (0, 0)), Demand { workspaces: 0, machines: 1, amount: Amount(1) }, None);
        check(&usage(3, 2, (0, 0), (0, 0)), Demand { workspaces: 0, machines: 0, amount: Amount(1) }, None);
        let dear = Demand { workspaces: 0, machines: 0, amount: Amount(100_001) };
        check(&usage(3, 2, (900_000, 0), (0, 0)), dear, Some("spend_per_day"));
    }

    #[test]
    fn no_cap_refuses_nothing() {
        let all = usage(1_000_000, 1_000_000, (u64::MAX, 1), (u64::MAX, 1));
        assert_eq!(Caps::default().refuse(&all, spawn(u64::MAX)), None);
    }

    #[test]
    fn a_refusal_says_which_cap_how_much_is_used_and_what_to_do() {
        let refusal = caps().refuse(&usage(1, 1, (400_000, 500_000), (0, 0)), spawn(190_000)).unwrap();
        insta::assert_snapshot!(format!("{}\n{}", refusal.message, refusal.hint), @r"
        daily cap €1.00: €0.40 spent, €0.50 reserved, this needs €0.19
        Choose a shorter lifetime or a smaller size, end a workspace, or raise spend_per_day in the installation's POLICY.
        ");
        let refusal = caps().refuse(&usage(1, 2, (0, 0), (0, 0)), spawn(1)).unwrap();
        insta::assert_snapshot!(format!("{}\n{}", refusal.message, refusal.hint), @r"
        the cap max_machines is reached: 2 of 2 machines run or are asked for
        Put a workspace to sleep, or raise max_machines in the installation's POLICY.
        ");
    }

    #[test]
    fn spending_warns_at_85_percent_and_is_exceeded_beyond_all_of_it() {
        let policy = Policy {
            spend_per_day: Some(Amount::whole(1)),
            spend_per_month: Some(Amount::whole(10)),
            ..Policy::default()
        };
        let warnings = |day, month| {
            let spending = Spending { day: Amount(day), month: Amount(month), currency: "EUR".into() };
            let name = |alert: &Alert| match alert {
                Alert::Warn(period, _) => format!("warn {period:?}"),
                Alert::Exceeded(period, _) => format!("exceeded {period:?}"),
            };
            alerts(&spending, &policy).iter().map(name).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(warnings(849_999, 0), "");
        assert_eq!(warnings(850_000, 0), "warn Day");
        assert_eq!(warnings(1_000_000, 8_500_000), "warn Day, warn Month");
        assert_eq!(warnings(1_000_001, 8_500_000), "exceeded Day, warn Month");
        assert_eq!(warnings(900_000, 10_000_001), "exceeded Month, warn Day");
    }

    #[test]
    fn periods_begin_at_midnight_in_utc() {
        let at: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        assert_eq!(Period::Day.start(at).to_string(), "2026-11-21T00:00:00Z");
        assert_eq!(Period::Month.start(at).to_string(), "2026-11-01T00:00:00Z");
    }

    /// Machines come and go at random; whatever is granted, no day and no month costs more than its cap.
    #[test]
    fn what_is_granted_never_costs_more_than_the_cap_of_any_day_or_month() {
        use super::super::bill::{Day, Machine, Tariff};
        const HOUR: i64 = 3_600_000;
        let caps = Caps { workspaces: None, machines: None, day: Some(Amount(60)), month: Some(Amount(700)) };
        for seed in 0..20_u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let moment = |ms| Timestamp::from_millisecond(1_795_000_000_000 + ms).unwrap();
            let tariff = Tariff { hourly: Amount(1), monthly: None };
            // Machine, its reservation, and when it will end.
            let mut machines: Vec<(Machine, u64, i64)> = Vec::new();
            let mut now_ms = 0;
            for _ in 0..600 {
                now_ms += i64::try_from(random(3 * 3_600_000)).unwrap();
                let now = moment(now_ms);
                for (machine, _, ends_ms) in &mut machines {
                    if *ends_ms <= now_ms && machine.ended_at.is_none() {
                        machine.ended_at = Some(moment(*ends_ms));
                    }
                }
                let usage_of = |period: Period| {
                    let start = Day::of(period.start(now));
                    let mut spent = Spent::default();
                    for (machine, reserved, _) in &machines {
                        let of_period = machine.by_day(start, Day(100_000), now);
                        let billed = of_period.iter().map(|(_, charge)| charge.hours).sum::<u64>();
                        spent.spent = spent.spent.plus(Amount(billed));
                        if machine.ended_at.is_none() {
                            let left = reserved.saturating_sub(machine.hours_until(now));
                            spent.reserved = spent.reserved.plus(Amount(left));
                        }
                    }
                    spent
                };
                let usage = CapUsage {
                    day: usage_of(Period::Day),
                    month: usage_of(Period::Month),
                    ..CapUsage::default()
                };
                let hours = 1 + random(30);
                let demand = Demand { workspaces: 1, machines: 1, amount: Amount(hours) };
                if caps.refuse(&usage, demand).is_none() {
                    let life = i64::try_from(random(hours)).unwrap() * HOUR + 1;
                    let machine = Machine { started_at: now, ended_at: None, gross: tariff, net: tariff };
                    machines.push((machine, hours, now_ms + life));
                }
            }
            let end = moment(now_ms + 40 * 24 * HOUR);
            let mut days = std::collections::BTreeMap::<Day, u64>::new();
            for (machine, _, ends_ms) in &mut machines {
                machine.ended_at = Some(moment(*ends_ms));
                for (day, charge) in machine.by_day(Day(0), Day(100_000), end) {
                    *days.entry(day).or_default() += charge.hours;
                }
            }
            let mut months = std::collections::BTreeMap::<Day, u64>::new();
            for (day, hours) in &days {
                *months.entry(day.month_start()).or_default() += hours;
            }
            assert!(machines.len() > 20, "seed {seed} tries nothing");
            assert!(days.values().all(|hours| *hours <= 60), "seed {seed}: {days:?}");
            assert!(months.values().all(|hours| *hours <= 700), "seed {seed}: {months:?}");
        }
    }
}

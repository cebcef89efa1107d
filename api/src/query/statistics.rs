//! `GET /api/v1/ingestion/statistics`: how many events of what kind, and what the tenant is
//! accounted for.
//!
//! Every number is one of identities: a row that was inserted twice counts once. What is made of
//! whole minutes is put together of counts that are kept ([`minutes`]).

mod minutes;

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use schemas::ids::TenantId;
use schemas::time::EventTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::QueryState;
use super::docs::Queried;
use super::failure::QueryError;
use super::given::{Given, Known, Text, invalid};
use super::range::{Range, RangeTold, asked};
use super::server::Session;
use super::tenant_query::{Table, TenantQuery};
use super::usage::{self, Usage};
use crate::access::Caller;
use crate::problem::{ApiError, FieldFault};

pub(super) use minutes::Minutes;

/// Points of a series.
const POINTS_MAX: i64 = 1_500;
/// Points that a series has at most whose step was not said.
const POINTS: i64 = 300;
/// Services that are named; the others are one, [`OTHER`].
const SERVICES_MAX: usize = 50;
/// What services that are not named are called together.
const OTHER: &str = "__other__";
/// Steps that are chosen from, in milliseconds.
const STEPS_MS: [i64; 9] = [
    1_000,
    10_000,
    60_000,
    300_000,
    900_000,
    3_600_000,
    21_600_000,
    86_400_000,
    604_800_000,
];

const KNOWN: [Known; 3] = [
    Known {
        name: "from",
        count_max: 1,
    },
    Known {
        name: "to",
        count_max: 1,
    },
    Known {
        name: "step",
        count_max: 1,
    },
];

/// How many events there are of what kind.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Tally {
    /// All of them.
    pub total: u64,
    /// By type.
    pub by_type: BTreeMap<String, u64>,
    /// By service: the 50 with the most, and `__other__` for the rest.
    pub by_service: BTreeMap<String, u64>,
    /// By severity.
    pub by_severity: BTreeMap<String, u64>,
}

/// A step of the series.
#[derive(Debug, Serialize, ToSchema)]
pub struct Point {
    /// Its first instant, RFC 3339; a multiple of the step since 1970.
    pub start: String,
    /// Its events.
    #[serde(flatten)]
    pub tally: Tally,
}

/// What there is of a tenant's events.
#[derive(Debug, Serialize, ToSchema)]
pub struct Statistics {
    /// The stretch of event time that was looked at.
    pub range: RangeTold,
    /// The series' step, in milliseconds.
    pub step_ms: i64,
    /// All events of the stretch.
    #[serde(flatten)]
    pub tally: Tally,
    /// When the first of them happened, RFC 3339; null where there is none.
    pub first: Option<String>,
    /// When the last of them happened, RFC 3339; null where there is none.
    pub last: Option<String>,
    /// Events that came in that stretch, by the log's clock, and were too late for any window.
    pub late: u64,
    /// Records that came in that stretch, by the log's clock, and could not be used.
    pub dead_lettered: u64,
    /// The steps that have events, in order.
    pub series: Vec<Point>,
    /// The current month.
    pub usage: Usage,
}

/// How many events there are, of what kind, and when.
#[utoipa::path(
    get,
    path = "/api/v1/ingestion/statistics",
    tag = "events",
    params(
        ("from" = Option<String>, Query,
            description = "First instant, RFC 3339 or milliseconds since 1970; a day before `to` \
            when absent."),
        ("to" = Option<String>, Query,
            description = "First instant behind the stretch, at most 92 days after `from`; when \
            absent, all that can be dated is before it."),
        ("step" = Option<String>, Query,
            description = "The series' step: a number and s, m, h or d, like 5m; chosen by the \
            stretch's length when absent."),
    ),
    responses(
        (status = 200, description = "What there is", body = Statistics),
        Queried,
    )
)]
pub async fn get_statistics(
    State(state): State<QueryState>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Json<Statistics>, ApiError> {
    let given = Given::of(request, &KNOWN).await?;
    let mut faults = vec![];
    let asked = asked(&given, &mut faults);
    let range = asked.resolve(caller.limits().future_max_ms);
    let range = range.map_err(|fault| faults.push(fault)).ok();
    let step_ms = range.and_then(|range| step_ms(given.one("step"), range, &mut faults));
    let (Some(range), Some(step_ms), true) = (range, step_ms, faults.is_empty()) else {
        return Err(invalid(faults));
    };
    let mut statistics = state.statistics(&caller.tenant, range, step_ms).await?;
    let future_max_ms = caller.limits().future_max_ms;
    statistics.usage = state.usage(&caller.tenant, future_max_ms).await?;
    Ok(Json(statistics))
}

impl QueryState {
    /// How many events of the tenant there are in that stretch, in steps of `step_ms`.
    ///
    /// # Errors
    /// When the server does not answer in time, refuses, or there is no place.
    pub async fn statistics(
        &self,
        tenant: &TenantId,
        range: Range,
        step_ms: i64,
    ) -> Result<Statistics, QueryError> {
        let session = self.server.session(tenant).await?;
        let mut statistics = match self.minutes.counts(&session, range, step_ms).await? {
            Some(counts) => gather(range, step_ms, counts),
            None => events(&session, range, step_ms).await?,
        };
        statistics.late = appended(&session, Table::Late, range).await?;
        statistics.dead_lettered = appended(&session, Table::DeadLetters, range).await?;
        Ok(statistics)
    }
}

/// The step that was asked for, or one that suits the stretch.
fn step_ms(given: Option<&Text>, range: Range, faults: &mut Vec<FieldFault>) -> Option<i64> {
    let length_ms = range.to.as_ms().saturating_sub(range.from.as_ms());
    let Some(given) = given else {
        let suits = |step_ms: &&i64| length_ms / **step_ms < POINTS;
        return STEPS_MS.iter().find(suits).or(STEPS_MS.last()).copied();
    };
    let step_ms = read_step(&given.text);
    let reason = match step_ms {
        None => "must be a whole number and s, m, h or d, like 5m, of 366 days at most",
        Some(step_ms) if length_ms / step_ms >= POINTS_MAX => {
            "is too short: a series has at most 1500 steps"
        }
        Some(_) => return step_ms,
    };
    faults.push(FieldFault::new(&given.pointer, reason));
    None
}

fn read_step(text: &str) -> Option<i64> {
    let unit_ms = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: i64 = digits.parse().ok().filter(|_| is_number)?;
    let step_ms = count.checked_mul(unit_ms)?;
    (1..=366 * 86_400_000).contains(&step_ms).then_some(step_ms)
}

/// What a count is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Of {
    Type,
    Severity,
    Service,
    /// A service, in all steps together.
    ServiceInAll,
}

#[derive(Debug, Deserialize)]
struct Count {
    of: Of,
    start_us: i64,
    name: String,
    n: u64,
    first_us: i64,
    last_us: i64,
}

async fn events(session: &Session, range: Range, step_ms: i64) -> Result<Statistics, QueryError> {
    let mut query = session.query("statistics");
    grouped(&mut query, step_ms * 1_000, |query| {
        query.push(" AND occurred_at >= ").instant(range.from);
        query.push(" AND occurred_at < ").instant(range.to);
    });
    query.push(
        " ((start_us, event_type), (start_us, severity), (start_us, service), (service)) \
         ORDER BY of, start_us, n DESC, name LIMIT ",
    );
    query.value(SERVICES_MAX as i64).push(" BY of, start_us");
    let counts: Vec<Count> = session.rows(&query).await?;
    Ok(gather(range, step_ms, counts))
}

/// Appends a question for counts in steps of events on which some conditions hold; the sets follow
/// by which they are grouped. Events are gone through once, in groups by what they are, and only
/// those once for each set.
fn grouped(query: &mut TenantQuery, step_us: i64, conditions: impl FnOnce(&mut TenantQuery)) {
    query.push(
        "SELECT multiIf(grouping(event_type) = 0, 'type', grouping(severity) = 0, 'severity', \
         grouping(start_us) = 0, 'service', 'service_in_all') AS of, start_us, \
         multiIf(of = 'type', toString(event_type), of = 'severity', toString(severity), \
         toString(service)) AS name, sum(own) AS n, min(own_first_us) AS first_us, \
         max(own_last_us) AS last_us FROM (SELECT event_type, severity, service, \
         at_us - positiveModulo(at_us, ",
    );
    query.value(step_us).push(
        ") AS start_us, count() AS own, min(at_us) AS own_first_us, max(at_us) AS own_last_us \
         FROM (SELECT event_type, severity, service, toUnixTimestamp64Micro(occurred_at) AS at_us",
    );
    query.rows_of(Table::Events);
    conditions(query);
    query.push(") GROUP BY start_us, event_type, severity, service) GROUP BY GROUPING SETS");
}

fn gather(range: Range, step_ms: i64, counts: Vec<Count>) -> Statistics {
    let mut all = Tally::default();
    let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
    let mut series: BTreeMap<i64, Tally> = BTreeMap::new();
    for count in counts {
        if count.of == Of::ServiceInAll {
            all.by_service.insert(count.name, count.n);
            continue;
        }
        let tally = series.entry(count.start_us).or_default();
        match count.of {
            Of::Type => {
                first_us = first_us.min(count.first_us);
                last_us = last_us.max(count.last_us);
                tally.total += count.n;
                all.total += count.n;
                *all.by_type.entry(count.name.clone()).or_default() += count.n;
                tally.by_type.insert(count.name, count.n);
            }
            Of::Severity => {
                *all.by_severity.entry(count.name.clone()).or_default() += count.n;
                tally.by_severity.insert(count.name, count.n);
            }
            Of::Service | Of::ServiceInAll => {
                tally.by_service.insert(count.name, count.n);
            }
        }
    }
    series.values_mut().for_each(Tally::add_others);
    all.add_others();
    let point = |(start_us, tally)| Point {
        start: EventTime::from_us(start_us).to_string(),
        tally,
    };
    let told = |us: i64| (all.total > 0).then(|| EventTime::from_us(us).to_string());
    Statistics {
        range: range.into(),
        step_ms,
        first: told(first_us),
        last: told(last_us),
        tally: all,
        late: 0,
        dead_lettered: 0,
        series: series.into_iter().map(point).collect(),
        usage: Usage::default(),
    }
}

impl Tally {
    /// Counts the services that are not named.
    fn add_others(&mut self) {
        let named: u64 = self.by_service.values().sum();
        if let Some(others) = self.total.checked_sub(named).filter(|others| *others > 0) {
            *self.by_service.entry(OTHER.into()).or_default() += others;
        }
    }
}

/// Rows of a table that the log took in a stretch.
async fn appended(session: &Session, table: Table, range: Range) -> Result<u64, QueryError> {
    let mut query = session.query("appended");
    query.push("SELECT count() AS n").rows_of(table);
    query.push(" AND _appended_at >= ").instant(range.from);
    query.push(" AND _appended_at < ").instant(range.to);
    usage::one(session.rows(&query).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_or_suit_the_stretch() {
        assert_eq!(read_step("5m"), Some(300_000));
        assert_eq!(read_step("1d"), Some(86_400_000));
        for bad in [
            "",
            "m",
            "0m",
            "-1m",
            "+1m",
            "5",
            "5M",
            "1.5h",
            "367d",
            "99999999999999999999s",
        ] {
            assert_eq!(read_step(bad), None, "{bad}");
        }
        let range = |hours: i64| Range {
            from: EventTime::from_ms(0),
            to: EventTime::from_ms(hours * 3_600_000),
        };
        let suits = |hours| step_ms(None, range(hours), &mut vec![]);
        assert_eq!(suits(1), Some(60_000));
        assert_eq!(suits(24), Some(300_000));
        assert_eq!(suits(92 * 24), Some(21_600_000 * 4));
    }

    #[test]
    fn services_that_are_not_named_are_counted_as_one() {
        let count = |of, start_us, name: &str, n| Count {
            of,
            start_us,
            name: name.into(),
            n,
            first_us: start_us,
            last_us: start_us + 1,
        };
        let range = Range {
            from: EventTime::from_us(0),
            to: EventTime::from_us(100),
        };
        let counts = vec![
            count(Of::ServiceInAll, 0, "a", 3),
            count(Of::Service, 0, "a", 3),
            count(Of::Severity, 0, "info", 5),
            count(Of::Type, 0, "trade", 5),
            count(Of::Type, 50, "trade", 1),
        ];
        let told = gather(range, 1, counts);
        assert_eq!((told.tally.total, told.tally.by_service[OTHER]), (6, 3));
        assert_eq!(told.series[0].tally.by_service[OTHER], 2);
        assert_eq!(told.last.unwrap(), EventTime::from_us(51).to_string());
    }
}

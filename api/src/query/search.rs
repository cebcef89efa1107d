//! `GET|POST /api/v1/ingestion/events/search`: a tenant's events, newest first, page by page.
//!
//! A search looks at short stretches of time first, from its end backwards, each longer than the
//! one before: the newest events are in small parts of the table, and whoever asks for a hundred
//! of them should not wait for a day to be read.
//!
//! In each stretch it looks for identities among the rows as they were inserted, where indexes
//! help, and reads all rows of those it found. Of rows with one identity that of the highest
//! version counts, as `FINAL` has it, and an event is found when that very row is one that was
//! searched for.

mod cursor;
mod filter;
mod found;
mod page;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use schemas::ids::TenantId;
use serde::Serialize;
use utoipa::ToSchema;

use super::QueryState;
use super::docs::{Posted, Queried};
use super::given::{Given, Known, invalid};
use super::range::{Asked, Range, RangeTold, asked};
use crate::access::Caller;
use crate::problem::{ApiError, FieldFault};
use cursor::{Cursor, Position};
use filter::Filter;

pub use found::{FoundContext, FoundEvent, FoundSource};

/// Events in a page that does not say how many.
const LIMIT: usize = 100;
/// Events in a page.
const LIMIT_MAX: usize = 1_000;

/// The parameters beside those that narrow a search.
const KNOWN: [Known; 4] = [once("from"), once("to"), once("limit"), once("cursor")];

const fn once(name: &'static str) -> Known {
    Known { name, count_max: 1 }
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchAnswer {
    /// The events, newest first.
    pub events: Vec<FoundEvent>,
    /// What gives the next page, as `cursor` beside the same parameters; null where there is none.
    /// A page may be shorter than asked for and still have a next one.
    pub next_cursor: Option<String>,
    /// The stretch of time that was searched.
    pub range: RangeTold,
}

/// What is searched for.
struct Search {
    filter: Filter,
    asked: Asked,
    range: Range,
    /// What the page begins behind.
    after: Position,
    limit: usize,
}

/// Events in their newest order.
#[utoipa::path(
    get,
    path = "/api/v1/ingestion/events/search",
    tag = "events",
    params(
        ("type" = Option<Vec<String>>, Query, description = "One of these types; may be repeated."),
        ("name" = Option<String>, Query, description = "A custom event's own name."),
        ("severity" = Option<Vec<String>>, Query,
            description = "One of these severities; may be repeated."),
        ("severity_at_least" = Option<String>, Query,
            description = "This severity or a worse one."),
        ("service" = Option<String>, Query, description = "The service that said it."),
        ("subject" = Option<String>, Query, description = "What it is about."),
        ("tag" = Option<Vec<String>>, Query,
            description = "A tag, `name:value`; all that are given must be there."),
        ("text" = Option<String>, Query,
            description = "A part of title, name or payload, in whatever case; no wildcards."),
        ("trace_id" = Option<String>, Query, description = "The trace that it is part of."),
        ("user_id" = Option<String>, Query, description = "Whose doing it was."),
        ("event_id" = Option<String>, Query, description = "Its id."),
        ("from" = Option<String>, Query,
            description = "First instant, RFC 3339 or milliseconds since 1970; a day before `to` \
            when absent."),
        ("to" = Option<String>, Query,
            description = "First instant behind the stretch, at most 92 days after `from`; when \
            absent, all that can be dated is before it."),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 1000,
            description = "Events in the page; 100 when absent."),
        ("cursor" = Option<String>, Query,
            description = "The `next_cursor` of the page before, with the same parameters."),
    ),
    responses(
        (status = 200, description = "A page of events", body = SearchAnswer),
        Queried,
    )
)]
pub async fn get_search(
    state: State<QueryState>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Json<SearchAnswer>, ApiError> {
    search(state, caller, request).await
}

/// What a search is for, as a body: the parameters of the `GET`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"type": ["error_event"], "tag": {"region": "eu"}, "limit": 20}))]
pub struct SearchBody {
    /// One of these types.
    #[serde(rename = "type")]
    pub types: Option<Vec<String>>,
    /// A custom event's own name.
    pub name: Option<String>,
    /// One of these severities.
    pub severity: Option<Vec<String>>,
    /// This severity or a worse one.
    pub severity_at_least: Option<String>,
    /// The service that said it.
    pub service: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// Tags that must all be there, by name; or an array of `name:value`.
    pub tag: Option<std::collections::BTreeMap<String, String>>,
    /// A part of title, name or payload, in whatever case.
    pub text: Option<String>,
    /// The trace that it is part of.
    pub trace_id: Option<String>,
    /// Whose doing it was.
    pub user_id: Option<String>,
    /// Its id.
    pub event_id: Option<String>,
    /// First instant.
    pub from: Option<String>,
    /// First instant behind the stretch.
    pub to: Option<String>,
    /// Events in the page.
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The same for what does not fit into a URL.
#[utoipa::path(
    post,
    path = "/api/v1/ingestion/events/search",
    tag = "events",
    request_body(content = Option<SearchBody>, content_type = "application/json"),
    responses(
        (status = 200, description = "A page of events", body = SearchAnswer),
        Posted,
    )
)]
pub async fn post_search(
    state: State<QueryState>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Json<SearchAnswer>, ApiError> {
    search(state, caller, request).await
}

async fn search(
    State(state): State<QueryState>,
    caller: Caller,
    request: Request<Body>,
) -> Result<Json<SearchAnswer>, ApiError> {
    let given = Given::of(request, &known()).await?;
    let future_max_ms = caller.limits().future_max_ms;
    let answer = answer(&state, &caller.tenant, future_max_ms, &given).await?;
    Ok(Json(answer))
}

fn known() -> Vec<Known> {
    filter::KNOWN.into_iter().chain(KNOWN).collect()
}

impl QueryState {
    /// Searches as the `GET` with these parameters does; an event of the tenant's is dated at most
    /// `future_max_ms` ahead.
    ///
    /// # Errors
    /// As the route answers them.
    pub async fn search(
        &self,
        tenant: &TenantId,
        future_max_ms: i64,
        parameters: &[(&str, &str)],
    ) -> Result<SearchAnswer, ApiError> {
        let given = Given::of_pairs(parameters, &known())?;
        answer(self, tenant, future_max_ms, &given).await
    }
}

async fn answer(
    state: &QueryState,
    tenant: &TenantId,
    future_max_ms: i64,
    given: &Given,
) -> Result<SearchAnswer, ApiError> {
    let search = Search::of(given, tenant, future_max_ms)?;
    let session = state.server().session(tenant).await?;
    let (events, next) = search.page(&session).await?;
    let range = search.range;
    let next_cursor =
        next.map(|position| Cursor { range, position }.text(tenant, &search.filter, search.asked));
    Ok(SearchAnswer {
        events,
        next_cursor,
        range: range.into(),
    })
}

impl Search {
    fn of(given: &Given, tenant: &TenantId, future_max_ms: i64) -> Result<Self, ApiError> {
        let mut faults = vec![];
        let filter = Filter::of(given, &mut faults);
        let asked = asked(given, &mut faults);
        let limit = given.one("limit").map_or(Some(LIMIT), |text| {
            let limit = text.text.parse().ok();
            limit
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                .or_else(|| {
                    faults.push(FieldFault::new(
                        &text.pointer,
                        "must be a number from 1 to 1000",
                    ));
                    None
                })
        });
        let (Some(limit), true) = (limit, faults.is_empty()) else {
            return Err(invalid(faults));
        };
        let (range, after) = match given.one("cursor") {
            Some(text) => {
                let cursor = Cursor::read(&text.text, tenant, &filter, asked);
                let cursor = cursor.map_err(|_| {
                    let detail = "the cursor is none of this question's: take the next_cursor of \
                                  an answer to the same parameters";
                    ApiError::bad_request(detail)
                })?;
                (cursor.range, cursor.position)
            }
            None => {
                let range = asked.resolve(future_max_ms);
                let range = range.map_err(|fault| invalid(vec![fault]))?;
                (range, Position::before(range.to))
            }
        };
        Ok(Self {
            filter,
            asked,
            range,
            after,
            limit,
        })
    }
}

//! What questions are refused with, for the API's description.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response};

use crate::problem::problems_because;

/// What any question may be refused with.
const ANY: [(u16, &str); 4] = [
    (429, "The tenant has as many questions under way as it may"),
    (500, "A fault of ours"),
    (503, "The store of events cannot be read now"),
    (504, "The answer took longer than it may"),
];
/// What one with parameters may be refused with besides.
const PARAMETERS: (u16, &str) = (422, "A parameter is unknown or cannot be used");

/// Of a question without parameters.
pub(crate) struct Plain;
/// Of a question whose parameters stand in the query.
pub(crate) struct Queried;
/// Of a question whose parameters are the body.
pub(crate) struct Posted;

impl IntoResponses for Plain {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems_because(&ANY)
    }
}

impl IntoResponses for Queried {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = Plain::responses();
        let unreadable = "The query cannot be read, or the cursor is none of this question's";
        responses.extend(problems_because(&[(400, unreadable), PARAMETERS]));
        responses
    }
}

impl IntoResponses for Posted {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = Plain::responses();
        responses.extend(problems_because(&[
            (
                400,
                "The body is not JSON, or the cursor is none of this question's",
            ),
            (408, "The body did not come in time"),
            (413, "The body is larger than 64 KiB"),
            (415, "The body is not application/json as it is"),
            PARAMETERS,
        ]));
        responses
    }
}

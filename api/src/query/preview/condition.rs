//! A meter's filter and fields in SQL, meaning what `schemas::meter` means.

use schemas::decimal::Decimal;
use schemas::meter::{Condition, Field, Filter, Test};

use crate::query::tenant_query::TenantQuery;

/// Appends the filter's conditions, each with ` AND ` before it.
pub(super) fn write(query: &mut TenantQuery, filter: &Filter) {
    if let Some(event_type) = filter.event_type {
        query.push(" AND event_type = ").value(event_type.as_str());
    }
    for condition in &filter.all {
        query.push(" AND ");
        write_one(query, condition);
    }
}

/// Appends whether all of these hold, a number that is 0 or 1.
pub(super) fn all_of(query: &mut TenantQuery, conditions: &[Condition]) {
    query.push("(1");
    for condition in conditions {
        query.push(" AND ");
        write_one(query, condition);
    }
    query.push(")");
}

fn write_one(query: &mut TenantQuery, Condition { field, test }: &Condition) {
    let is_number = field.is_number();
    match test {
        Test::Exists(expect) => {
            query.push(if *expect { "(" } else { "NOT (" });
            presence(query, field);
            query.push(")");
        }
        Test::Eq(text) => equals(query, field, std::slice::from_ref(text)),
        Test::In(texts) => equals(query, field, texts),
        Test::Ne(text) => {
            query.push("NOT ");
            equals(query, field, std::slice::from_ref(text));
        }
        Test::Gt(limit) if is_number => compares(query, field, " > ", *limit),
        Test::Ge(limit) if is_number => compares(query, field, " >= ", *limit),
        Test::Lt(limit) if is_number => compares(query, field, " < ", *limit),
        Test::Le(limit) if is_number => compares(query, field, " <= ", *limit),
        // Texts have no order.
        Test::Gt(_) | Test::Ge(_) | Test::Lt(_) | Test::Le(_) => {
            query.push("0");
        }
    }
}

/// Appends that the field is there and is one of these.
fn equals(query: &mut TenantQuery, field: &Field, texts: &[String]) {
    query.push("(");
    presence(query, field);
    if let Field::Metric(name) = field {
        query.push(" AND (0");
        // A text that is no number equals none; a meter with one has a fault.
        for number in texts.iter().filter_map(|text| text.parse::<Decimal>().ok()) {
            query.push(" OR metrics[").value(name.as_str());
            query.push("] = ").value(number);
        }
        query.push("))");
        return;
    }
    query.push(" AND has(").value(texts.to_vec()).push(", ");
    text(query, field);
    query.push("))");
}

fn compares(query: &mut TenantQuery, field: &Field, operator: &'static str, limit: Decimal) {
    query.push("(");
    presence(query, field);
    if let Field::Metric(name) = field {
        query.push(" AND metrics[").value(name.as_str()).push("]");
        query.push(operator).value(limit);
    }
    query.push(")");
}

/// Appends whether the event has the field. An absent text of a column is an empty one.
pub(super) fn presence(query: &mut TenantQuery, field: &Field) {
    match field {
        Field::EventType | Field::Severity | Field::Subject | Field::Service => {
            query.push("1");
        }
        Field::Tag(name) => {
            query
                .push("mapContains(tags, ")
                .value(name.as_str())
                .push(")");
        }
        Field::Metric(name) => {
            query
                .push("mapContains(metrics, ")
                .value(name.as_str())
                .push(")");
        }
        _ => {
            text(query, field);
            query.push(" != ''");
        }
    }
}

/// Appends the field's text, empty where the event has none.
pub(super) fn text(query: &mut TenantQuery, field: &Field) {
    let column = match field {
        Field::EventType => "toString(event_type)",
        Field::Name => "toString(name)",
        Field::Severity => "toString(severity)",
        Field::Subject => "subject",
        Field::UserId => "user_id",
        Field::Service => "toString(service)",
        Field::Host => "toString(host)",
        Field::Method => "toString(method)",
        Field::Endpoint => "toString(endpoint)",
        Field::Version => "toString(version)",
        Field::Tag(name) => {
            query.push("tags[").value(name.as_str()).push("]");
            return;
        }
        Field::Error => {
            "if(event_type = 'api_call' AND (toDecimal128OrZero(tags['status_code'], 18) >= 500 \
             OR (mapContains(tags, 'error') AND tags['error'] != 'false')), 'true', 'false')"
        }
        // A number has no text.
        Field::Metric(_) => "''",
    };
    query.push(column);
}

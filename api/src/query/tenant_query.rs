//! A question about one tenant's rows, which cannot be put without saying whose.
//!
//! Its text is made of pieces that stand in this program; whatever comes from outside is a value
//! beside it, and the server puts the two together.

use std::fmt::Write;

use schemas::decimal::Decimal;
use schemas::ids::TenantId;
use schemas::time::EventTime;

/// A table that questions are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// Events, each once.
    Events,
    /// Events as they were inserted: whoever asks drops the repeats himself.
    EventsAsInserted,
    /// Events that came too late.
    Late,
    /// What could not be used.
    DeadLetters,
}

impl Table {
    /// The tables of the database, as the server knows them.
    pub(super) const NAMES: [&str; 4] = ["events", "metrics", "late", "dead_letters"];

    const fn source(self) -> &'static str {
        match self {
            Self::Events => "events FINAL",
            Self::EventsAsInserted => "events",
            Self::Late => "late FINAL",
            Self::DeadLetters => "dead_letters FINAL",
        }
    }
}

/// Something that comes from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A text.
    Text(String),
    /// Several.
    Texts(Vec<String>),
    /// A whole number.
    Whole(i64),
    /// An exact decimal.
    Decimal(Decimal),
}

/// A question about one tenant's rows.
#[derive(Clone, Debug)]
pub struct TenantQuery {
    tenant: TenantId,
    name: &'static str,
    text: String,
    values: Vec<Value>,
}

impl TenantQuery {
    /// Begins a question about the rows of `tenant`; `name` is what logs call it.
    pub fn of(tenant: &TenantId, name: &'static str) -> Self {
        Self {
            tenant: tenant.clone(),
            name,
            text: String::new(),
            values: vec![],
        }
    }

    /// Appends SQL of this program's own.
    ///
    /// # Panics
    /// When it names a table: that is what [`Self::rows_of`] is for.
    pub fn push(&mut self, sql: &'static str) -> &mut Self {
        assert!(
            !names_a_table(sql),
            "a table is named without its tenant: {sql}"
        );
        self.text.push_str(sql);
        self
    }

    /// Appends the name of the column of that number, `g3` for instance.
    pub fn numbered(&mut self, name: &'static str, at: usize) -> &mut Self {
        write!(self.text, "{name}{at}").expect("a string takes all that is written");
        self
    }

    /// Appends ` FROM <table> WHERE tenant = <the tenant>`; conditions follow with ` AND `.
    pub fn rows_of(&mut self, table: Table) -> &mut Self {
        let source = table.source();
        write!(self.text, " FROM {source} WHERE tenant = {{tenant:String}}")
            .expect("a string takes all that is written");
        self
    }

    /// Appends a place for a value, which travels beside the text.
    pub fn value(&mut self, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        let (at, kind) = (self.values.len(), value.kind());
        write!(self.text, "{{p{at}:{kind}}}").expect("a string takes all that is written");
        self.values.push(value);
        self
    }

    /// Appends a place for an instant.
    pub fn instant(&mut self, at: EventTime) -> &mut Self {
        self.push("fromUnixTimestamp64Micro(")
            .value(at.as_us())
            .push(", 'UTC')")
    }

    /// Whose rows they are.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What logs call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The text, with places for the values and for the tenant.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The values, `p0` first.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

/// True where a piece of SQL reads from anything but a subquery or a function of its own.
fn names_a_table(sql: &str) -> bool {
    let words: Vec<&str> = sql.split_whitespace().collect();
    words.iter().enumerate().any(|(at, word)| {
        let is_source = word.eq_ignore_ascii_case("from") || word.eq_ignore_ascii_case("join");
        let next = words.get(at + 1);
        is_source && !next.is_some_and(|next| next.starts_with('('))
    })
}

impl Value {
    /// The server's type.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "String",
            Self::Texts(_) => "Array(String)",
            Self::Whole(_) => "Int64",
            Self::Decimal(_) => "Decimal(38, 18)",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

impl From<Decimal> for Value {
    fn from(number: Decimal) -> Self {
        Self::Decimal(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        "acme".parse().unwrap()
    }

    #[test]
    fn a_text_from_outside_stands_beside_the_sql() {
        let mut query = TenantQuery::of(&tenant(), "test");
        query.push("SELECT count()").rows_of(Table::Events);
        query.push(" AND subject = ").value("' OR 1 --");
        query
            .push(" AND occurred_at < ")
            .instant(EventTime::from_us(7));
        insta::assert_snapshot!(query.text(), @"SELECT count() FROM events FINAL WHERE tenant = {tenant:String} AND subject = {p0:String} AND occurred_at < fromUnixTimestamp64Micro({p1:Int64}, 'UTC')");
        assert_eq!(
            query.values(),
            [Value::Text("' OR 1 --".into()), Value::Whole(7)]
        );
    }

    #[test]
    fn no_table_is_named_without_its_tenant() {
        for sql in [
            "SELECT 1 FROM events",
            "SELECT 1 from events",
            "(SELECT 1 FROM",
            "SELECT 1 FROM (SELECT 1) JOIN late",
        ] {
            let mut query = TenantQuery::of(&tenant(), "test");
            let pushed = std::panic::catch_unwind(move || {
                query.push(sql);
            });
            assert!(pushed.is_err(), "{sql}");
        }
        assert!(!names_a_table("SELECT 1 FROM (SELECT fromage"));
    }
}

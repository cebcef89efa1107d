//! The tables and their columns, in the order in which the cells of a row are written.

/// A table that this sink fills.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Table {
    /// Events as they came.
    Events,
    /// Fired windows.
    Metrics,
    /// Events that came too late for any window.
    Late,
    /// What could not be used.
    DeadLetters,
}

/// What a column's cells look like on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Bytes behind their length.
    Text,
    /// So many bytes, the lowest first.
    Fixed(usize),
    /// Bytes, or nothing.
    NullableText,
    /// So many bytes, or nothing.
    NullableFixed(usize),
    /// Names and texts, or any bytes.
    TextMap,
    /// Names and decimals.
    DecimalMap,
    /// Names and decimals, some of which are null.
    NullableDecimalMap,
}

/// A column that we write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name in the table.
    pub name: &'static str,
    /// The type that our bytes have; the server turns text into `LowCardinality` by itself.
    pub sent_as: &'static str,
    /// What its cells look like.
    pub kind: Kind,
}

impl Table {
    /// All of them, in the order in which a round is inserted.
    pub const ALL: [Self; 4] = [Self::Events, Self::Metrics, Self::Late, Self::DeadLetters];

    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Metrics => "metrics",
            Self::Late => "late",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// What is written for each row, the log position last.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Events => &EVENTS,
            Self::Metrics => &METRICS,
            Self::Late => &LATE,
            Self::DeadLetters => &DEAD_LETTERS,
        }
    }

    /// The columns that make a row the row that it is, behind the tenant: rows that agree in them
    /// are one row, the one of the highest version.
    pub const fn identity(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["event_type", "subject", "occurred_at", "event_id"],
            Self::Metrics => &[
                "meter",
                "meter_version",
                "group",
                "window_ms",
                "window_start",
            ],
            Self::Late | Self::DeadLetters => &["_appended_at", "_topic", "_partition", "_offset"],
        }
    }

    /// The columns' names for a statement, separated by commas.
    pub fn column_list(self) -> String {
        let names: Vec<_> = self
            .columns()
            .iter()
            .map(|c| format!("`{}`", c.name))
            .collect();
        names.join(", ")
    }
}

/// How many columns, those of the log position, end each row.
pub const POSITION_COLUMN_COUNT: usize = 4;

const SEVERITY: &str = "Enum8('debug' = 0, 'info' = 1, 'warning' = 2, 'error' = 3, 'critical' = 4)";
const MICROS: &str = "DateTime64(6, 'UTC')";
const MILLIS: &str = "DateTime64(3, 'UTC')";

const fn text(name: &'static str) -> Column {
    Column {
        name,
        sent_as: "String",
        kind: Kind::Text,
    }
}

const fn fixed(name: &'static str, sent_as: &'static str, size: usize) -> Column {
    Column {
        name,
        sent_as,
        kind: Kind::Fixed(size),
    }
}

const EVENTS: [Column; 24] = [
    text("tenant"),
    text("event_type"),
    text("subject"),
    fixed("occurred_at", MICROS, 8),
    text("event_id"),
    text("name"),
    fixed("received_at", MICROS, 8),
    fixed("severity", SEVERITY, 1),
    text("service"),
    text("host"),
    text("method"),
    text("endpoint"),
    text("version"),
    Column {
        name: "sequence",
        sent_as: "Nullable(Int64)",
        kind: Kind::NullableFixed(8),
    },
    text("title"),
    text("trace_id"),
    text("user_id"),
    Column {
        name: "tags",
        sent_as: "Map(String, String)",
        kind: Kind::TextMap,
    },
    Column {
        name: "metrics",
        sent_as: "Map(String, Decimal(38, 18))",
        kind: Kind::DecimalMap,
    },
    text("payload"),
    TOPIC,
    PARTITION,
    OFFSET,
    APPENDED_AT,
];

const METRICS: [Column; 19] = [
    text("tenant"),
    text("meter"),
    fixed("meter_version", "Int64", 8),
    text("group"),
    fixed("window_ms", "Int64", 8),
    fixed("window_start", MICROS, 8),
    Column {
        name: "window_end",
        sent_as: "Nullable(DateTime64(6, 'UTC'))",
        kind: Kind::NullableFixed(8),
    },
    Column {
        name: "labels",
        sent_as: "Map(String, String)",
        kind: Kind::TextMap,
    },
    fixed("revision", "UInt64", 8),
    fixed("deleted", "UInt8", 1),
    fixed("partial", "Bool", 1),
    fixed("overflow", "Bool", 1),
    fixed("event_count", "UInt64", 8),
    Column {
        name: "values",
        sent_as: "Map(String, Nullable(Decimal(38, 18)))",
        kind: Kind::NullableDecimalMap,
    },
    Column {
        name: "sketches",
        sent_as: "Map(String, String)",
        kind: Kind::TextMap,
    },
    TOPIC,
    PARTITION,
    OFFSET,
    APPENDED_AT,
];

const LATE: [Column; 15] = [
    text("tenant"),
    text("topic"),
    fixed("partition", "Int32", 4),
    fixed("offset", "Int64", 8),
    fixed("appended_at", MILLIS, 8),
    text("event_id"),
    text("event_type"),
    text("subject"),
    fixed("occurred_at", MICROS, 8),
    fixed("limit_at", MICROS, 8),
    text("event"),
    TOPIC,
    PARTITION,
    OFFSET,
    APPENDED_AT,
];

const DEAD_LETTERS: [Column; 14] = [
    text("tenant"),
    text("source"),
    Column {
        name: "partition",
        sent_as: "Nullable(Int32)",
        kind: Kind::NullableFixed(4),
    },
    Column {
        name: "offset",
        sent_as: "Nullable(Int64)",
        kind: Kind::NullableFixed(8),
    },
    fixed("appended_at", MILLIS, 8),
    text("reason"),
    text("detail"),
    fixed("replay_count", "Int32", 4),
    Column {
        name: "key",
        sent_as: "Nullable(String)",
        kind: Kind::NullableText,
    },
    Column {
        name: "value",
        sent_as: "Nullable(String)",
        kind: Kind::NullableText,
    },
    TOPIC,
    PARTITION,
    OFFSET,
    APPENDED_AT,
];

const TOPIC: Column = text("_topic");
const PARTITION: Column = fixed("_partition", "Int32", 4);
const OFFSET: Column = fixed("_offset", "Int64", 8);
const APPENDED_AT: Column = fixed("_appended_at", MILLIS, 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_ends_with_its_place_in_the_log() {
        for table in Table::ALL {
            let columns = table.columns();
            let place = &columns[columns.len() - POSITION_COLUMN_COUNT..];
            assert_eq!(
                place,
                [TOPIC, PARTITION, OFFSET, APPENDED_AT],
                "{}",
                table.name()
            );
            assert_eq!(columns[0].name, "tenant", "{}", table.name());
        }
    }

    #[test]
    fn the_identity_is_the_sorting_key() {
        let sql = super::super::migrations::ALL
            .map(|migration| migration.sql)
            .join("\n");
        for table in Table::ALL {
            let head = format!("CREATE TABLE IF NOT EXISTS {}\n(", table.name());
            let (_, rest) = sql.split_once(&head).expect("each table has a migration");
            let (_, rest) = rest
                .split_once("\nORDER BY (")
                .expect("the table has a key");
            let (key, _) = rest.split_once(")\n").expect("the key ends");
            let key: Vec<_> = key.split(", ").map(|name| name.trim_matches('`')).collect();
            assert_eq!(key[0], "tenant", "{}", table.name());
            assert_eq!(key[1..], *table.identity(), "{}", table.name());
        }
    }

    #[test]
    fn every_column_is_in_its_migration() {
        let sql = super::super::migrations::ALL
            .map(|migration| migration.sql)
            .join("\n");
        for table in Table::ALL {
            let head = format!("CREATE TABLE IF NOT EXISTS {}\n(", table.name());
            let (_, rest) = sql.split_once(&head).expect("each table has a migration");
            let (columns, rest) = rest.split_once("\n)").expect("the list of columns ends");
            let later = format!("ALTER TABLE {}\n", table.name());
            let later = rest.split_once(&later).map_or("", |(_, added)| added);
            for column in table.columns() {
                let names = [
                    format!("\n    {} ", column.name),
                    format!("\n    `{}` ", column.name),
                ];
                let added = format!("    ADD COLUMN IF NOT EXISTS {} ", column.name);
                let is_there = names.iter().any(|name| columns.contains(name));
                assert!(is_there || later.contains(&added), "{}", column.name);
            }
        }
    }
}

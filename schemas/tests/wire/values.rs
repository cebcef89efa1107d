//! Values of any schema, extremes among them.

use apache_avro::Schema;
use apache_avro::types::Value;
use fastrand::Rng;
use proptest::collection::vec;
use proptest::prelude::*;
use schemas::refusal::ITEMS_MAX;

/// The largest number of 38 digits.
pub(crate) const UNITS_MAX: i128 = 10_i128.pow(38) - 1;

/// Any value of a schema that ours allow too: they hold some numbers to a range.
pub(crate) fn any_value(schema: &Schema) -> BoxedStrategy<Value> {
    match schema {
        Schema::Null => Just(Value::Null).boxed(),
        Schema::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Schema::Int => prop_oneof![any::<i32>(), Just(i32::MIN), Just(i32::MAX), -2..2]
            .prop_map(Value::Int)
            .boxed(),
        Schema::Long => any_long().prop_map(Value::Long).boxed(),
        Schema::TimestampMicros => any_long().prop_map(Value::TimestampMicros).boxed(),
        Schema::TimestampMillis => any_long().prop_map(Value::TimestampMillis).boxed(),
        Schema::String => any_text().prop_map(Value::String).boxed(),
        Schema::Bytes => any_bytes().prop_map(Value::Bytes).boxed(),
        Schema::Decimal(_) => any_units().prop_map(decimal).boxed(),
        Schema::Enum(schema) => {
            let symbols = schema.symbols.clone();
            (0..symbols.len())
                .prop_map(move |at| Value::Enum(at as u32, symbols[at].clone()))
                .boxed()
        }
        Schema::Array(schema) => vec(any_value(&schema.items), 0..12)
            .prop_map(Value::Array)
            .boxed(),
        Schema::Map(schema) => any_map(&schema.types),
        Schema::Union(schema) => {
            let branches = schema.variants().iter().enumerate();
            let branches = branches.map(|(at, branch)| {
                any_value(branch).prop_map(move |value| Value::Union(at as u32, Box::new(value)))
            });
            proptest::strategy::Union::new(branches).boxed()
        }
        Schema::Record(schema) => {
            let fields = schema.fields.iter();
            let fields: Vec<_> = fields
                .map(|field| {
                    let name = field.name.clone();
                    any_field(&name, &field.schema).prop_map(move |value| (name.clone(), value))
                })
                .collect();
            fields.prop_map(Value::Record).boxed()
        }
        other => panic!("no released schema has {other:?}"),
    }
}

fn any_field(name: &str, schema: &Schema) -> BoxedStrategy<Value> {
    match name {
        "window_ms" => (1..=366 * 86_400_000_i64).prop_map(Value::Long).boxed(),
        "event_count" => (0..=i64::MAX).prop_map(Value::Long).boxed(),
        _ => any_value(schema),
    }
}

/// Mostly a few items, now and then none or as many as an event may have.
fn any_map(items: &Schema) -> BoxedStrategy<Value> {
    let item = || (any_text(), any_value(items));
    let few = vec(item(), 0..4).prop_map(|items| items.into_iter().collect());
    let most = vec(item(), ITEMS_MAX).prop_map(|items| {
        let items = items.into_iter().enumerate();
        items
            .map(|(at, (name, value))| (format!("{name}{at}"), value))
            .collect()
    });
    prop_oneof![24 => few, 1 => most]
        .prop_map(Value::Map)
        .boxed()
}

// A choice or a list of strategies costs microseconds for each number and letter; so these are
// made from a seed, and shrink by their length or not at all.

/// Any number, those where a varint grows by a byte more often.
fn any_long() -> impl Strategy<Value = i64> {
    any::<u64>().prop_map(|seed| {
        let mut random = Rng::with_seed(seed);
        let value = (1_i64 << random.u32(..64)).wrapping_add(random.i64(-2..2));
        match random.u8(..4) {
            0 => seed as i64,
            1 => value.wrapping_neg(),
            _ => value,
        }
    })
}

/// Any text, those about as long as a load or a one-byte length reaches more often.
fn any_text() -> impl Strategy<Value = String> {
    (0_usize..36, any::<u64>()).prop_map(|(length, seed)| {
        let mut random = Rng::with_seed(seed);
        let length = match random.u8(..) {
            0 => 8_180 + length,
            1..20 => 50 + length,
            20..40 => 0,
            _ => length,
        };
        let mut text: String = match random.u8(..4) {
            0 => (0..length).map(|_| random.char(..)).collect(),
            _ => (0..length).map(|_| random.char('\0'..='\x7f')).collect(),
        };
        if random.u8(..8) == 0 {
            text.push(random.char('\u{80}'..));
        }
        text
    })
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    (0_usize..300, any::<u64>()).prop_map(|(length, seed)| {
        let mut bytes = vec![0; length];
        Rng::with_seed(seed).fill(&mut bytes);
        bytes
    })
}

/// Any 38 digits, short ones and the ends more often.
fn any_units() -> impl Strategy<Value = i128> {
    any::<u64>().prop_map(|seed| {
        let mut random = Rng::with_seed(seed);
        let any = random.i128(-UNITS_MAX..=UNITS_MAX);
        let power = (1_i128 << random.u32(..126)) + random.i128(-2..2);
        match random.u8(..8) {
            0 => UNITS_MAX,
            1 => -UNITS_MAX,
            2 => power,
            3 => -power,
            _ => any >> random.u32(..127),
        }
    })
}

/// Units of 10⁻¹⁸ in as few bytes as hold them.
pub(crate) fn decimal(units: i128) -> Value {
    let wide = units.to_be_bytes();
    let sign = if units < 0 { 0xff } else { 0 };
    let spare = (0..15).take_while(|at| wide[*at] == sign && (wide[at + 1] ^ sign) < 0x80);
    let bytes = &wide[spare.count()..];
    Value::Decimal(apache_avro::Decimal::from(bytes))
}

/// Units of 10⁻¹⁸.
pub(crate) fn units(decimal: &apache_avro::Decimal) -> i128 {
    let bytes = Vec::<u8>::try_from(decimal).unwrap();
    let sign = if bytes[0] < 0x80 { 0 } else { -1 };
    let digits = bytes.iter();
    digits.fold(sign, |units, digit| units << 8 | i128::from(*digit))
}

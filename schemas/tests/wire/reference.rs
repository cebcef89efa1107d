//! `apache-avro`'s side.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::types::Value;
use schemas::wire::SchemaId;

/// More than any value of these tests has; keeps `apache-avro` itself from believing a length.
const ALLOCATION_BYTES_MAX: usize = 256 * 1024;

static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
    let parse = |id: SchemaId| Schema::parse_str(id.json()).unwrap();
    SchemaId::ALL.into_iter().map(parse).collect()
});

/// The parsed schema.
pub(crate) fn schema(id: SchemaId) -> &'static Schema {
    let at = SchemaId::ALL.iter().position(|one| *one == id).unwrap();
    &SCHEMAS[at]
}

/// The value of a body, if it is one and nothing follows it.
///
/// `apache-avro` takes a string or a boolean that the body ends before for null; validation finds
/// those.
pub(crate) fn read(id: SchemaId, mut body: &[u8]) -> Option<Value> {
    let value = apache_avro::from_avro_datum(schema(id), &mut body, None).ok()?;
    (body.is_empty() && value.validate(schema(id))).then_some(value)
}

/// A body with `apache-avro`'s bytes; maps are in the order of the value's hash maps.
pub(crate) fn write(id: SchemaId, value: &Value) -> Vec<u8> {
    apache_avro::to_avro_datum(schema(id), value.clone()).unwrap()
}

/// How a writer may cut arrays and maps into blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Items in it at most; at least 1.
    pub(crate) items_max: usize,
    /// Whether it is written with a negative count and its length in bytes.
    pub(crate) sized: bool,
}

/// All items in one block.
pub(crate) const ONE_BLOCK: [Block; 1] = [Block {
    items_max: usize::MAX,
    sized: false,
}];

/// A body with arrays and maps in blocks of the given forms, which repeat.
pub(crate) fn write_in_blocks(value: &Value, blocks: &[Block]) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, value, blocks);
    out
}

fn put(out: &mut Vec<u8>, value: &Value, blocks: &[Block]) {
    match value {
        Value::Null => {}
        Value::Boolean(value) => out.push((*value).into()),
        Value::Int(value) => put_varint(out, (*value).into()),
        Value::Enum(symbol, _) => put_varint(out, (*symbol).into()),
        Value::Long(value) | Value::TimestampMicros(value) | Value::TimestampMillis(value) => {
            put_varint(out, *value);
        }
        Value::String(text) => put_sized(out, text.as_bytes()),
        Value::Bytes(bytes) => put_sized(out, bytes),
        Value::Decimal(value) => put_sized(out, &Vec::<u8>::try_from(value).unwrap()),
        Value::Union(branch, value) => {
            put_varint(out, (*branch).into());
            put(out, value, blocks);
        }
        Value::Record(fields) => fields.iter().for_each(|(_, value)| put(out, value, blocks)),
        Value::Array(items) => put_blocks(out, items.iter(), blocks, |out, item| {
            put(out, item, blocks);
        }),
        Value::Map(items) => put_blocks(out, items.iter(), blocks, |out, (name, item)| {
            put_sized(out, name.as_bytes());
            put(out, item, blocks);
        }),
        other => panic!("no released schema has {other:?}"),
    }
}

fn put_blocks<T>(
    out: &mut Vec<u8>,
    mut items: impl ExactSizeIterator<Item = T>,
    blocks: &[Block],
    mut put_item: impl FnMut(&mut Vec<u8>, T),
) {
    for block in blocks.iter().cycle() {
        if items.len() == 0 {
            break;
        }
        let count = items.len().min(block.items_max);
        let mut body = vec![];
        items
            .by_ref()
            .take(count)
            .for_each(|item| put_item(&mut body, item));
        if block.sized {
            put_varint(out, -(count as i64));
            put_sized(out, &body);
        } else {
            put_varint(out, count as i64);
            out.extend(body);
        }
    }
    put_varint(out, 0);
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as i64);
    out.extend(bytes);
}

/// A zig-zag varint, by the book.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = i128::from(value) * 2;
    if rest < 0 {
        rest = -rest - 1;
    }
    loop {
        let digit = (rest % 128) as u8;
        rest /= 128;
        if rest == 0 {
            return out.push(digit);
        }
        out.push(digit + 128);
    }
}

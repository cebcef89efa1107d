import java.math.BigInteger;
import java.nio.charset.StandardCharsets;

/** One of our Events in its Confluent frame, read by hand as the peers read their own trades. */
final class PulseEvent {
  String eventId, product;
  long at, tradeId;
  int side;
  BigInteger price, size;

  private final byte[] b;
  private int p;

  private PulseEvent(byte[] bytes, int start) {
    b = bytes;
    p = start;
  }

  static PulseEvent read(byte[] bytes) {
    PulseEvent e = new PulseEvent(bytes, 5);
    e.eventId = e.text();
    e.skip(); // event_type
    e.optional(); // name
    e.at = Math.floorDiv(e.number(), 1000L); // occurred_at: the peers count in milliseconds
    e.number(); // received_at
    e.number(); // severity
    e.skip(); // source.service
    for (int i = 0; i < 4; i++) e.optional(); // host, method, endpoint, version
    e.product = e.text(); // subject
    e.tradeId = e.number() == 1 ? e.number() : 0; // sequence
    for (int i = 0; i < 3; i++) e.optional(); // title, trace_id, user_id
    for (long n = e.block(); n != 0; n = e.block())
      for (; n > 0; n--) {
        boolean isSide = e.is(SIDE);
        if (isSide) e.side = e.is(SELL) ? 1 : 0;
        else e.skip();
      }
    for (long n = e.block(); n != 0; n = e.block())
      for (; n > 0; n--) {
        if (e.at(PRICE)) {
          e.skip();
          e.price = e.decimal();
        } else if (e.at(SIZE)) {
          e.skip();
          e.size = e.decimal();
        } else {
          e.skip();
          e.skip();
        }
      }
    return e; // a payload may follow
  }

  private static final byte[] SIDE = bytes("side"), SELL = bytes("sell"), PRICE = bytes("price"), SIZE = bytes("size");

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.ISO_8859_1);
  }

  private long number() {
    long value = 0;
    for (int shift = 0; ; shift += 7) {
      byte c = b[p++];
      value |= (long) (c & 127) << shift;
      if (c >= 0) return (value >>> 1) ^ -(value & 1);
    }
  }

  private String text() {
    int length = (int) number();
    String text = new String(b, p, length, StandardCharsets.ISO_8859_1);
    p += length;
    return text;
  }

  private BigInteger decimal() {
    int length = (int) number();
    BigInteger value = new BigInteger(b, p, length);
    p += length;
    return value;
  }

  private void skip() {
    int length = (int) number();
    p += length;
  }

  private void optional() {
    if (number() == 1) skip();
  }

  /** Items of the next block of a map; 0 ends it. */
  private long block() {
    long count = number();
    if (count >= 0) return count;
    number(); // bytes of the block
    return -count;
  }

  /** True when this text comes next; nothing is read. */
  private boolean at(byte[] text) {
    if (b[p] != text.length << 1) return false;
    for (int i = 0; i < text.length; i++) if (b[p + 1 + i] != text[i]) return false;
    return true;
  }

  /** Reads a text: true when it is this one. */
  private boolean is(byte[] text) {
    boolean is = at(text);
    skip();
    return is;
  }
}

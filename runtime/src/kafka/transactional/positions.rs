//! The one call that librdkafka does not bound, made on a thread of its own.
//!
//! Once the transaction knows of the group, the positions go to the group's coordinator, and while
//! none is found librdkafka looks on, whatever time it was given: 2.12 notes when the search must
//! end (`creq_ts_timeout` in `rdkafka_coord.c`) and never reads it. A broker that goes away in that
//! moment would hold the call for as long as it is away, and one that comes back may still not end
//! the search. One that is frozen holds it until librdkafka gives the request up.
//!
//! So nobody waits for such a call beyond its time. Its thread keeps the producer until it returns,
//! which nothing depends on: the next producer of the name has a new epoch, and what the old one
//! still sends is refused.

use std::sync::mpsc::sync_channel;

use super::*;

impl Transactional {
    /// Adds positions to the open transaction.
    pub(super) fn send_positions(
        &self,
        positions: &[Position],
        group: &GroupMetadata,
        deadline: Deadline,
    ) -> Result<(), CallFailure> {
        if positions.is_empty() {
            return Ok(());
        }
        let list = Position::list(positions).map_err(CallFailure::of_crate)?;
        let (producer, group) = (Arc::clone(self.producer()), Arc::clone(group));
        let wait = deadline.left();
        let (tell, told) = sync_channel(1);
        let call = move || {
            let sent = producer.send_offsets_to_transaction(&list, &group, wait);
            // Before anybody hears of the end: whoever does may put a new producer in its place.
            drop(producer);
            // Nobody listens any more when it came too late.
            let _ = tell.send(sent);
        };
        std::thread::Builder::new()
            .name("positions".into())
            .spawn(call)
            .map_err(|error| CallFailure::unanswered(&format!("no thread: {error}")))?;
        // Behind the time that the call was given, and still below the transaction's.
        let slack = self.settings.timeout / 20;
        match told.recv_timeout(wait + slack) {
            Ok(sent) => sent.map_err(CallFailure::of_crate),
            Err(_) => Err(CallFailure::unanswered(
                "the positions were not taken in time",
            )),
        }
    }
}

//! The client for positions is made by the first question about one, and once.

use super::*;

fn made(admin: &Admin) -> Option<Arc<BaseConsumer<Context>>> {
    admin.positions.lock().unwrap().clone()
}

#[test]
fn the_client_for_positions_is_made_when_it_is_asked_and_once() {
    let admin = Admin::new(&KafkaConfig::plaintext("127.0.0.1:1")).unwrap();
    let wait = Duration::from_millis(10);
    assert!(admin.topics(wait).is_err(), "nobody is there");
    assert!(admin.committed("group", &[], wait).unwrap().is_empty());
    assert!(made(&admin).is_none());

    let asked = [Partition::new("topic", 0)];
    assert!(admin.committed("group", &asked, wait).is_err());
    let first = made(&admin).expect("a question makes it");
    assert!(admin.committed("group", &asked, wait).is_err());
    assert!(Arc::ptr_eq(&first, &made(&admin).unwrap()));
}

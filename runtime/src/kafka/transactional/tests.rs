//! Which failure asks for what.

use super::*;

#[track_caller]
fn check(code: Code, (fatal, abort, retriable): (bool, bool, bool), expect: Verdict) {
    let call = CallFailure {
        failure: Failure::of(code),
        is_fatal: fatal,
        is_retriable: retriable,
        requires_abort: abort,
    };
    assert_eq!(verdict(&call), expect, "{call:?}");
}

#[test]
fn each_kind_of_failure_has_one_verdict() {
    check(Code::Fenced, (true, false, false), Verdict::Fenced);
    check(Code::Fenced, (false, false, false), Verdict::Fenced);
    check(Code::ProducerFenced, (false, true, false), Verdict::Fenced);
    check(
        Code::InvalidTransactionalState,
        (true, false, false),
        Verdict::Renew,
    );
    check(
        Code::InvalidProducerIdMapping,
        (true, true, true),
        Verdict::Renew,
    );
    check(
        Code::IllegalGeneration,
        (false, true, false),
        Verdict::Abort,
    );
    check(Code::MessageTimedOut, (false, true, true), Verdict::Abort);
    check(
        Code::OperationTimedOut,
        (false, false, true),
        Verdict::Resume,
    );
    check(
        Code::BrokerTransportFailure,
        (false, false, true),
        Verdict::Resume,
    );
    check(Code::State, (false, false, false), Verdict::Renew);
}

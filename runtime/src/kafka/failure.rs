//! What librdkafka answered, as a value, and what becomes of the work that met it.
#![allow(unsafe_code)]

use std::ffi::CStr;

use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka_sys as sys;

use crate::fate::Fate;

/// An error of librdkafka or of a broker: its code and its own words.
///
/// The words name brokers, topics and partitions; librdkafka puts no payload and no secret there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {text}")]
pub struct Failure {
    /// The code, of the client (`_…` in librdkafka) or of the broker.
    pub code: Code,
    /// What librdkafka says about it.
    pub text: String,
}

impl Failure {
    /// The failure of a code alone.
    pub fn of(code: Code) -> Self {
        Self {
            code,
            text: format!("{code}"),
        }
    }

    pub(super) fn of_response(response: RDKafkaRespErr) -> Option<Self> {
        let code = Code::from(response);
        (code != Code::NoError).then(|| Self::of(code))
    }

    /// The failure behind the crate's error, which carries a code for all but a few of its kinds.
    pub(super) fn of_crate(error: &KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, text, key, _) => Self {
                code: Code::InvalidArgument,
                text: format!("{key}: {text}"),
            },
            KafkaError::ClientCreation(text) => Self {
                code: Code::InvalidArgument,
                text: text.clone(),
            },
            KafkaError::Subscription(text) | KafkaError::Seek(text) => Self {
                code: Code::Fail,
                text: text.clone(),
            },
            other => {
                let code = other.rdkafka_error_code().unwrap_or(Code::Fail);
                Self {
                    code,
                    text: format!("{code}"),
                }
            }
        }
    }

    /// True when a broker answered and there was no way in: it does not know the user or refuses
    /// the certificate, or we do not trust it.
    pub fn is_locked_out(&self) -> bool {
        matches!(
            self.code,
            Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::UnsupportedSASLMechanism
                | Code::IllegalSASLState
                | Code::SSL
        )
    }

    /// True when one topic is in trouble and the brokers are not: it is gone, or not ours to use.
    pub fn is_about_topic(&self) -> bool {
        matches!(
            self.code,
            Code::UnknownTopic
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::TopicAuthorizationFailed
        )
    }

    /// What becomes of the work: rights and settings must be mended by someone, one record may be
    /// too large, and all else may pass.
    pub fn fate(&self) -> Fate {
        match self.code {
            Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidMessage => Fate::Reject,
            Code::InvalidArgument
            | Code::Fatal
            | Code::Fenced
            | Code::FencedInstanceId
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::InvalidConfig
            | Code::InvalidReplicationFactor
            | Code::PolicyViolation
            | Code::UnsupportedVersion => Fate::Halt,
            _ => Fate::Retry,
        }
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::of_crate(&error)
    }
}

/// A failure of a transactional call, with what librdkafka asks of the caller.
#[derive(Clone, Debug)]
pub(super) struct CallFailure {
    pub(super) failure: Failure,
    pub(super) is_fatal: bool,
    pub(super) is_retriable: bool,
    pub(super) requires_abort: bool,
}

impl CallFailure {
    /// Takes the error that a transactional call returned; null means that it succeeded.
    pub(super) fn take(error: *mut sys::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: librdkafka handed a valid error to us alone; it is read and destroyed once.
        let failure = unsafe {
            let text = CStr::from_ptr(sys::rd_kafka_error_string(error));
            let taken = Self {
                failure: Failure {
                    code: sys::rd_kafka_error_code(error).into(),
                    text: text.to_string_lossy().into_owned(),
                },
                is_fatal: sys::rd_kafka_error_is_fatal(error) != 0,
                is_retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                requires_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            sys::rd_kafka_error_destroy(error);
            taken
        };
        Err(failure)
    }

    /// A call whose end nobody saw.
    pub(super) fn unanswered(text: &str) -> Self {
        Self {
            failure: Failure {
                code: Code::OperationTimedOut,
                text: text.to_owned(),
            },
            is_fatal: false,
            is_retriable: false,
            requires_abort: false,
        }
    }

    /// The same from the crate's error, which keeps librdkafka's flags.
    pub(super) fn of_crate(error: KafkaError) -> Self {
        match &error {
            KafkaError::Transaction(native) => Self {
                failure: Failure {
                    code: native.code(),
                    text: native.string(),
                },
                is_fatal: native.is_fatal(),
                is_retriable: native.is_retriable(),
                requires_abort: native.txn_requires_abort(),
            },
            _ => Self {
                failure: Failure::of_crate(&error),
                is_fatal: true,
                is_retriable: false,
                requires_abort: false,
            },
        }
    }
}

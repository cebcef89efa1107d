//! What is wanted of an exchange, and by whom. Pure: feeds in, differences and audiences out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::control::{Channel, Exchange, Feed, PRODUCTS_MAX};
use schemas::ids::TenantId;

/// Products by channel: what one connection asks an exchange for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    products: BTreeMap<Channel, BTreeSet<String>>,
}

impl Wanted {
    /// Adds a product's channel.
    pub fn add(&mut self, channel: Channel, product: &str) {
        self.products
            .entry(channel)
            .or_default()
            .insert(product.to_owned());
    }

    /// The products of a channel, in order.
    pub fn products(&self, channel: Channel) -> impl Iterator<Item = &str> {
        self.products
            .get(&channel)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The products of any channel, each once.
    pub fn all_products(&self) -> BTreeSet<&str> {
        self.products
            .values()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// True when that channel of that product is wanted.
    pub fn has(&self, channel: Channel, product: &str) -> bool {
        self.products
            .get(&channel)
            .is_some_and(|products| products.contains(product))
    }

    /// True when nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.products.values().all(BTreeSet::is_empty)
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (channel, products) in &self.products {
            for product in products.iter().filter(|p| !other.has(*channel, p)) {
                left.add(*channel, product);
            }
        }
        left
    }
}

/// Who is to get an output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audience {
    /// The tenants that want this channel of this product.
    Market {
        /// Which channel.
        channel: Channel,
        /// Which product.
        product: Arc<str>,
    },
    /// The tenants that want anything of this connection.
    Feed,
}

/// All tenants' wishes of one exchange's feed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subscriptions {
    tenants: BTreeSet<TenantId>,
    by_market: BTreeMap<Channel, BTreeMap<String, BTreeSet<TenantId>>>,
    refused: Vec<String>,
    /// Tenants whose own producers write beside us.
    direct: BTreeSet<TenantId>,
}

impl Subscriptions {
    /// The wishes for `exchange` in all enabled feeds.
    ///
    /// One connection asks for [`PRODUCTS_MAX`] products: what comes after them, in the order of
    /// the feeds, is left out and listed by [`Self::refused`].
    pub fn of<'a>(
        exchange: Exchange,
        feeds: impl IntoIterator<Item = (&'a TenantId, &'a Feed)>,
    ) -> Self {
        let mut all = Self::default();
        let mut names = BTreeSet::new();
        for (tenant, feed) in feeds {
            if feed.exchange != exchange || !feed.enabled {
                continue;
            }
            for product in &feed.products {
                if names.contains(product) || names.len() < PRODUCTS_MAX {
                    names.insert(product.clone());
                    all.add(tenant, product, &feed.channels);
                } else {
                    all.refused.push(product.clone());
                }
            }
        }
        all
    }

    /// The same, where producers of these tenants write straight to Kafka.
    #[must_use]
    pub fn with_direct_producers(mut self, tenants: BTreeSet<TenantId>) -> Self {
        self.direct = tenants;
        self
    }

    /// True when producers of the tenant's own write straight to Kafka.
    pub fn has_direct_producers(&self, tenant: &TenantId) -> bool {
        self.direct.contains(tenant)
    }

    fn add(&mut self, tenant: &TenantId, product: &str, channels: &[Channel]) {
        for channel in channels {
            self.tenants.insert(tenant.clone());
            self.by_market
                .entry(*channel)
                .or_default()
                .entry(product.to_owned())
                .or_default()
                .insert(tenant.clone());
        }
    }

    /// What to ask the exchange for.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for (channel, products) in &self.by_market {
            for product in products.keys() {
                wanted.add(*channel, product);
            }
        }
        wanted
    }

    /// The tenants of an audience.
    pub fn tenants(&self, audience: &Audience) -> impl Iterator<Item = &TenantId> {
        let tenants = match audience {
            Audience::Feed => Some(&self.tenants),
            Audience::Market { channel, product } => self
                .by_market
                .get(channel)
                .and_then(|products| products.get(&**product)),
        };
        tenants.into_iter().flatten()
    }

    /// True when a tenant wants anything of this connection.
    pub fn has(&self, tenant: &TenantId) -> bool {
        self.tenants.contains(tenant)
    }

    /// The products of which a tenant wants this channel.
    pub fn products_of<'a>(
        &'a self,
        tenant: &'a TenantId,
        channel: Channel,
    ) -> impl Iterator<Item = &'a str> {
        let wanted = self.by_market.get(&channel).into_iter().flatten();
        let own = wanted.filter(move |(_, tenants)| tenants.contains(tenant));
        own.map(|(product, _)| product.as_str())
    }

    /// The products of which some tenant wants this channel who did not want it in `before`.
    pub fn with_more(&self, channel: Channel, before: &Self) -> impl Iterator<Item = &str> {
        let wanted = self.by_market.get(&channel).into_iter().flatten();
        let more = wanted.filter(move |(product, tenants)| {
            let then = before.by_market.get(&channel);
            let then = then.and_then(|products| products.get(*product));
            then.is_none_or(|then| !tenants.is_subset(then))
        });
        more.map(|(product, _)| product.as_str())
    }

    /// Names that were left out.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    fn feed(products: &[&str], channels: &[Channel]) -> Feed {
        Feed {
            exchange: Exchange::CoinbaseAdvanced,
            products: products.iter().map(|p| (*p).to_owned()).collect(),
            channels: channels.to_vec(),
            enabled: true,
        }
    }

    fn audience(channel: Channel, product: &str) -> Audience {
        Audience::Market {
            channel,
            product: product.into(),
        }
    }

    #[test]
    fn one_connection_serves_all_tenants_and_each_gets_its_own() {
        let (a, b) = (tenant("a"), tenant("b"));
        let first = feed(&["BTC-USD", "ETH-USD"], &[Channel::Trades]);
        let second = feed(&["BTC-USD"], &[Channel::Trades, Channel::Depth]);
        let all = Subscriptions::of(Exchange::CoinbaseAdvanced, [(&a, &first), (&b, &second)]);
        let tenants = |audience| {
            let ids = all.tenants(&audience).map(TenantId::as_str);
            ids.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(tenants(audience(Channel::Trades, "BTC-USD")), "a b");
        assert_eq!(tenants(audience(Channel::Trades, "ETH-USD")), "a");
        assert_eq!(tenants(audience(Channel::Depth, "BTC-USD")), "b");
        assert_eq!(tenants(audience(Channel::Quotes, "BTC-USD")), "");
        assert_eq!(tenants(Audience::Feed), "a b");
        let wanted = all.wanted();
        assert!(wanted.has(Channel::Depth, "BTC-USD") && !wanted.has(Channel::Depth, "ETH-USD"));
    }

    #[test]
    fn paused_feeds_and_other_exchanges_ask_for_nothing() {
        let a = tenant("a");
        let mut paused = feed(&["BTC-USD"], &[Channel::Trades]);
        paused.enabled = false;
        let all = Subscriptions::of(Exchange::CoinbaseAdvanced, [(&a, &paused)]);
        assert!(all.wanted().is_empty());
        let other = feed(&["BTC-USD"], &[Channel::Trades]);
        let all = Subscriptions::of(Exchange::CoinbaseExchange, [(&a, &other)]);
        assert!(all.wanted().is_empty());
        assert_eq!(all.tenants(&Audience::Feed).count(), 0);
    }

    #[test]
    fn one_connection_asks_for_a_bounded_number_and_lists_the_others() {
        let (a, b) = (tenant("a"), tenant("b"));
        let names: Vec<_> = (0..PRODUCTS_MAX).map(|n| format!("P{n:04}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let full = feed(&names, &[Channel::Trades]);
        let more = feed(&["P0000", "ONE-MORE"], &[Channel::Trades]);
        let all = Subscriptions::of(Exchange::CoinbaseAdvanced, [(&a, &full), (&b, &more)]);
        assert_eq!(all.refused(), ["ONE-MORE"]);
        assert_eq!(all.wanted().all_products().len(), PRODUCTS_MAX);
        assert_eq!(all.tenants(&audience(Channel::Trades, "P0000")).count(), 2);
    }

    #[test]
    fn differences_name_each_channel_of_each_product() {
        let (mut old, mut new) = (Wanted::default(), Wanted::default());
        old.add(Channel::Trades, "BTC-USD");
        old.add(Channel::Depth, "BTC-USD");
        new.add(Channel::Trades, "BTC-USD");
        new.add(Channel::Trades, "ETH-USD");
        let added = new.without(&old);
        assert_eq!(
            added.products(Channel::Trades).collect::<Vec<_>>(),
            ["ETH-USD"]
        );
        let gone = old.without(&new);
        assert_eq!(
            gone.products(Channel::Depth).collect::<Vec<_>>(),
            ["BTC-USD"]
        );
        assert_eq!(gone.products(Channel::Trades).count(), 0);
        assert!(new.without(&new).is_empty());
    }
}

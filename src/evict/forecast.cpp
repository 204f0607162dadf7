#include "evict/forecast.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "evict/look_ahead.hpp"

namespace asterias::evict {
namespace {

using What = PassScript::What;

constexpr int kWarmUpSteps = 3;

std::uint64_t& of(ContentBytes& bytes, ContentKind kind) { return bytes[static_cast<std::size_t>(kind)]; }

// One actor of the script, where it lies now.
struct Actor {
  const PassScript::Actor* script;
  std::array<bool, kNumTiers> on{};
  bool blank = false;
  bool alive = false;
  bool is_chunk = false;
  Moment pinned_at = kNever;
  std::uint64_t last_use = 0;
  std::array<std::uint64_t, kNumTiers> arrival{};
  std::vector<Moment> uses;  // in a step, ascending
};

class Replay {
 public:
  Replay(const PassScript& script, const ForecastTiers& tiers, const EvictionPolicy& policy)
      : script_(script), tiers_(tiers), policy_(policy) {
    for (const auto& each : script.actors) add_actor(each);
    collect_uses();
  }

  Forecast run() {
    for (int step = 0; step <= kWarmUpSteps; ++step) {
      forecast_.moved_bytes = {};
      for (const Tier tier : tiers_.levels) {
        peak_bytes_[index_of(tier)] = 0;
        forecast_.peak_activation_bytes[index_of(tier)] = of(by_kind_[index_of(tier)], ContentKind::kActivation);
      }
      play_step();
    }
    add_libraries();
    for (const auto& actor : actors_)
      if (actor.is_chunk) of(forecast_.content, actor.script->kind) += actor.script->bytes;
    return forecast_;
  }

 private:
  static bool is_chunk(const PassScript::Actor& actor) { return actor.kind < ContentKind::kActivation; }

  void add_actor(const PassScript::Actor& script) {
    Actor actor;
    actor.script = &script;
    actor.is_chunk = is_chunk(script);
    actor.blank = script.blank;
    largest_bytes_ = std::max(largest_bytes_, script.bytes);
    for (const Tier tier : tiers_.levels)
      if (script.there[index_of(tier)]) count(actor, tier);
    set_alive(actor, existed(actor));
    actors_.push_back(std::move(actor));
    if (script.update_index >= 0) updates_[script.chunk].push_back(static_cast<std::uint32_t>(actors_.size() - 1));
  }

  // The update follows the passes, chunk by chunk; all its lists are used at once.
  void collect_uses() {
    Moment now = 0;
    for (const auto& event : script_.events) {
      if (event.what == What::kOperator) ++now;
      if (event.what == What::kRead || event.what == What::kWrite) add_use(event.actor, now);
    }
    const std::size_t num_in_passes = schedule_.size();
    for (const auto& [_, lists] : updates_) {
      ++now;
      std::uint64_t pinned = 0;
      for (const auto list : lists) {
        add_use(list, now);
        pinned += actors_[list].script->bytes;
      }
      update_bytes_ = std::max(update_bytes_, pinned);
    }
    schedule_.resize(num_in_passes);  // the update looks ahead on its own
    period_ = now + 1;
  }

  void add_use(std::uint32_t actor, Moment now) {
    auto& uses = actors_[actor].uses;
    if (!uses.empty() && uses.back() == now) return;
    uses.push_back(now);
    schedule_.emplace_back(now, actor);
  }

  // ---- a step -------------------------------------------------------------------------------------------------------

  void play_step() {
    now_ = 0;
    upcoming_ = 0;
    used_.clear();
    for (auto& actor : actors_) actor.pinned_at = kNever;
    for (auto& actor : actors_)
      if (actor.script->kind == ContentKind::kGrad) forget(actor);  // zero_grad
    for (const auto& event : script_.events) play(event);
    for (auto& actor : actors_)
      if (!actor.is_chunk && !existed(actor)) die(actor);
    for (auto at = updates_.begin(); at != updates_.end(); ++at) play_update(at);
  }

  static bool existed(const Actor& actor) {
    return std::any_of(actor.script->there.begin(), actor.script->there.end(), [](bool on) { return on; });
  }

  void play(const PassScript::Event& event) {
    switch (event.what) {
      case What::kOperator:
        offload_used();
        ++now_;
        ++operator_;
        fetch_ahead();
        return clean_ahead();
      case What::kRead: return use(actors_[event.actor], event.tier, /*writes=*/false);
      case What::kWrite: return use(actors_[event.actor], event.tier, /*writes=*/true);
      case What::kBirth: return be_born(actors_[event.actor], event.tier);
      case What::kDeath: return die(actors_[event.actor]);
      case What::kForget: return forget(actors_[event.actor]);
      case What::kUnmovable: return set_unmovable(event.tier, event.bytes);
    }
  }

  using Updates = std::map<std::uint64_t, std::vector<std::uint32_t>>;  // by chunk: its lists

  void play_update(Updates::const_iterator chunk) {
    const auto& lists = chunk->second;
    ++now_;
    ++operator_;
    for (const auto list : lists) actors_[list].pinned_at = now_;
    for (const auto list : lists) {
      if (is_overwritten(list, lists)) actors_[list].blank = true;
      use(actors_[list], Tier::kCpu, actors_[list].script->kind != ContentKind::kGrad);
    }
    for (std::uint64_t ahead = 0; ahead < tiers_.look_ahead && ++chunk != updates_.end(); ++ahead)
      for (const auto list : chunk->second)
        if (!is_overwritten(list, chunk->second)) prefetch(actors_[list], Tier::kCpu);
    for (const auto list : lists) actors_[list].pinned_at = kNever;
    if (shortfall(Tier::kCpu, update_bytes_) == 0) return;
    for (const auto list : lists)
      if (actors_[list].script->kind != ContentKind::kGrad) write_behind(actors_[list], Tier::kCpu);
  }

  // True for parameters that the update rounds anew from their masters: their old bytes need not come.
  bool is_overwritten(std::uint32_t list, const std::vector<std::uint32_t>& lists) const {
    const auto kind_of = [&](std::uint32_t actor) { return actors_[actor].script->kind; };
    return kind_of(list) == ContentKind::kParam &&
           std::any_of(lists.begin(), lists.end(), [&](auto other) { return kind_of(other) == ContentKind::kMaster; });
  }

  void use(Actor& actor, Tier tier, bool writes) {
    actor.pinned_at = now_;
    actor.last_use = ++clock_;
    if (actor.script->is_of_pass) used_.push_back(&actor);
    bring(actor, tier);
    if (!writes) return;
    for (const Tier other : tiers_.levels)
      if (other != tier && actor.on[index_of(other)]) drop(actor, other);
    actor.blank = false;
  }

  void be_born(Actor& actor, Tier tier) {
    if (actor.alive) return;  // it was there when the script began
    set_alive(actor, true);
    actor.blank = false;
    actor.pinned_at = now_;
    actor.last_use = ++clock_;
    auto& unmovable = unmovable_[index_of(tier)];
    unmovable -= std::min(unmovable, actor.script->bytes);
    count(actor, tier);
    count_as_made(actor, tier);
  }

  void die(Actor& actor) {
    for (const Tier tier : tiers_.levels)
      if (actor.on[index_of(tier)]) drop(actor, tier);
    set_alive(actor, existed(actor));
  }

  void forget(Actor& actor) {
    die(actor);
    actor.blank = true;
  }

  void set_unmovable(Tier tier, std::uint64_t bytes) {
    auto& unmovable = unmovable_[index_of(tier)];
    if (bytes > unmovable) make_room(tier, bytes - unmovable);
    unmovable = bytes;
    of(forecast_.content, ContentKind::kOther) = std::max(of(forecast_.content, ContentKind::kOther), bytes);
    note_peak(tier);
  }

  // ---- moves --------------------------------------------------------------------------------------------------------

  bool has_below(Tier tier) const { return tier != tiers_.levels.back(); }
  Tier below(Tier tier) const { return *std::next(std::find(tiers_.levels.begin(), tiers_.levels.end(), tier)); }

  void bring(Actor& actor, Tier tier) {
    if (actor.on[index_of(tier)]) return;
    const auto source = source_of(actor, tier);
    if (actor.blank || !source) {
      make_room(tier, actor.script->bytes);
      return count(actor, tier);
    }
    if (*source > tier && below(tier) != *source) {
      bring(actor, below(tier));
      return bring(actor, tier);
    }
    make_room(tier, actor.script->bytes);
    move(actor, *source, tier);
  }

  // The tier nearest to `tier` that has the bytes.
  std::optional<Tier> source_of(const Actor& actor, Tier tier) const {
    std::optional<Tier> best;
    for (const Tier other : tiers_.levels) {
      const auto distance = [&](Tier at) { return std::abs(index_of(at) - index_of(tier)); };
      if (actor.on[index_of(other)] && (!best || distance(other) < distance(*best))) best = other;
    }
    return best;
  }

  void move(Actor& actor, Tier from, Tier to) {
    forecast_.moved_bytes[static_cast<std::size_t>(edge_between(from, to))] += actor.script->bytes;
    count(actor, to);
  }

  bool write_behind(Actor& actor, Tier tier) {
    if (actor.blank || !actor.on[index_of(tier)] || is_redundant(actor, tier) || !has_below(tier)) return false;
    if (shortfall(below(tier), actor.script->bytes) > 0) return false;
    move(actor, tier, below(tier));
    return true;
  }

  // Brings the actor one tier up towards `tier`. False when that takes more than dropping clean copies.
  bool prefetch(Actor& actor, Tier tier) {
    if (actor.blank || actor.on[index_of(tier)] || !has_below(tier)) return false;
    const Tier source = below(tier);
    if (!actor.on[index_of(source)]) return prefetch(actor, source);
    if (!drop_clean_for(actor.script->bytes, tier, next_use(actor))) return false;
    move(actor, source, tier);
    return true;
  }

  bool drop_clean_for(std::uint64_t bytes, Tier tier, Moment used_at) {
    const std::uint64_t lacking = shortfall(tier, bytes);
    if (lacking == 0) return true;
    auto candidates = ranked(tier);
    std::erase_if(candidates, [&](const auto& each) { return !each.clean || each.next_use <= used_at; });
    std::uint64_t freeable = 0;
    for (const Candidate& candidate : candidates) freeable += candidate.bytes;
    if (freeable < lacking) return false;
    for (const Candidate& candidate : candidates) {
      if (shortfall(tier, bytes) == 0) break;
      drop(actors_[candidate.index], tier);
    }
    return true;
  }

  // As Residency::offload_used has it.
  void offload_used() {
    const Tier tier = tiers_.levels.front();
    for (Actor* actor : std::exchange(used_, {})) {
      const Moment next = next_use(*actor);
      if (!tiers_.offloads || !has_below(tier) || next == kNever || next <= moment_of_upcoming(kScannedUses)) continue;
      depart(*actor, tier);
    }
  }

  Moment moment_of_upcoming(std::size_t count) {
    skip_past();
    return upcoming_ + count > schedule_.size() ? kNever : schedule_[upcoming_ + count - 1].first;
  }

  void skip_past() {
    while (upcoming_ < schedule_.size() && schedule_[upcoming_].first <= now_) ++upcoming_;
  }

  void fetch_ahead() {
    const Tier tier = tiers_.levels.front();
    if (tiers_.look_ahead == 0 || !has_below(tier)) return;
    skip_past();
    std::uint64_t left = tiers_.look_ahead;
    int scanned = 0;
    for (std::size_t at = upcoming_; at < schedule_.size() && left > 0 && scanned < kScannedUses; ++at) {
      Actor& actor = actors_[schedule_[at].second];
      if (actor.on[index_of(tier)] || actor.blank || !(actor.is_chunk || actor.alive)) {
        ++scanned;
        continue;
      }
      if (!prefetch(actor, tier)) return;
      --left;
    }
  }

  void clean_ahead() {
    const Tier tier = tiers_.levels.front();
    if (tiers_.look_ahead == 0 || !has_below(tier)) return;
    const std::uint64_t lacking = shortfall(tier, tiers_.look_ahead * largest_bytes_);
    if (lacking == 0) return;
    std::uint64_t freeable = 0;
    for (const Candidate& candidate : ranked(tier)) {
      if (freeable >= lacking || candidate.next_use < now_ + kNearMoments) return;
      if (candidate.next_use == kNever && !candidate.clean) continue;
      if (!candidate.clean && !write_behind(actors_[candidate.index], tier)) return;
      freeable += candidate.bytes;
    }
  }

  // ---- room ---------------------------------------------------------------------------------------------------------

  std::uint64_t used_bytes(Tier tier) const { return resident_[index_of(tier)] + unmovable_[index_of(tier)]; }

  std::uint64_t shortfall(Tier tier, std::uint64_t bytes) const {
    const std::uint64_t room = tiers_.room[index_of(tier)], wanted = used_bytes(tier) + bytes;
    return wanted > room ? wanted - room : 0;
  }

  // What cannot be made stays lacking: a refusal says so, not a forecast.
  void make_room(Tier tier, std::uint64_t bytes) {
    if (shortfall(tier, bytes) == 0) return;
    for (const Candidate& candidate : ranked(tier)) {
      if (shortfall(tier, bytes) == 0) return;
      depart(actors_[candidate.index], tier);
    }
  }

  void depart(Actor& actor, Tier tier) {
    if (!actor.on[index_of(tier)]) return;
    if (!is_redundant(actor, tier)) {
      if (!has_below(tier)) return;
      const Moment before = std::exchange(actor.pinned_at, now_);
      make_room(below(tier), actor.script->bytes);
      actor.pinned_at = before;
      move(actor, tier, below(tier));
    }
    drop(actor, tier);
  }

  bool is_redundant(const Actor& actor, Tier tier) const {
    if (actor.blank) return true;
    for (const Tier other : tiers_.levels)
      if (other != tier && actor.on[index_of(other)]) return true;
    return false;
  }

  std::vector<Candidate> ranked(Tier tier) const {
    std::vector<Candidate> candidates;
    for (std::uint32_t i = 0; i < actors_.size(); ++i) {
      const Actor& actor = actors_[i];
      if (!actor.on[index_of(tier)] || is_pinned(actor)) continue;
      candidates.push_back({actor.script->id, i, is_redundant(actor, tier), actor.script->bytes, actor.last_use,
                            next_use(actor), actor.arrival[index_of(tier)]});
    }
    policy_.rank(candidates);
    return candidates;
  }

  // An operator pins all that it names before it brings the first.
  bool is_pinned(const Actor& actor) const {
    return actor.script->held || actor.pinned_at == now_ ||
           std::binary_search(actor.uses.begin(), actor.uses.end(), now_);
  }

  Moment next_use(const Actor& actor) const {
    const auto next = std::upper_bound(actor.uses.begin(), actor.uses.end(), now_);
    if (next != actor.uses.end()) return *next;
    return actor.is_chunk && !actor.uses.empty() ? period_ + actor.uses.front() : kNever;
  }

  // ---- books --------------------------------------------------------------------------------------------------------

  void count(Actor& actor, Tier tier) {
    actor.on[index_of(tier)] = true;
    actor.arrival[index_of(tier)] = ++clock_;
    resident_[index_of(tier)] += actor.script->bytes;
    of(by_kind_[index_of(tier)], actor.script->kind) += actor.script->bytes;
    auto& most_activations = forecast_.peak_activation_bytes[index_of(tier)];
    most_activations = std::max(most_activations, of(by_kind_[index_of(tier)], ContentKind::kActivation));
    note_peak(tier);
  }

  void drop(Actor& actor, Tier tier) {
    actor.on[index_of(tier)] = false;
    resident_[index_of(tier)] -= actor.script->bytes;
    of(by_kind_[index_of(tier)], actor.script->kind) -= actor.script->bytes;
  }

  void note_peak(Tier tier) {
    auto& peak = peak_bytes_[index_of(tier)];
    if (used_bytes(tier) <= peak) return;
    peak = used_bytes(tier);
    peak_operator_[index_of(tier)] = operator_;
    auto& content = forecast_.peak_content[index_of(tier)];
    content = by_kind_[index_of(tier)];
    of(content, ContentKind::kOther) = unmovable_[index_of(tier)];
  }

  // As Books::adopt has it.
  void count_as_made(const Actor& actor, Tier tier) {
    if (peak_operator_[index_of(tier)] != operator_) return;
    auto& content = forecast_.peak_content[index_of(tier)];
    const std::uint64_t made = std::min(actor.script->bytes, of(content, ContentKind::kOther));
    of(content, ContentKind::kOther) -= made;
    of(content, ContentKind::kActivation) += made;
  }

  void set_alive(Actor& actor, bool alive) {
    if (actor.is_chunk || std::exchange(actor.alive, alive) == alive) return;
    activation_bytes_ += alive ? actor.script->bytes : -actor.script->bytes;
    auto& most = of(forecast_.content, ContentKind::kActivation);
    most = std::max(most, activation_bytes_);
  }

  void add_libraries() {
    of(forecast_.peak_content[index_of(Tier::kCpu)], ContentKind::kLibraries) = tiers_.library_bytes;
    of(forecast_.content, ContentKind::kLibraries) = tiers_.library_bytes;
  }

  const PassScript& script_;
  const ForecastTiers& tiers_;
  const EvictionPolicy& policy_;
  Forecast forecast_;
  std::vector<Actor> actors_;
  Updates updates_;
  std::vector<std::pair<Moment, std::uint32_t>> schedule_;  // what the passes use, in order
  std::size_t upcoming_ = 0;
  std::vector<Actor*> used_;  // activations, by the present operator
  std::array<std::uint64_t, kNumTiers> resident_{};
  std::array<std::uint64_t, kNumTiers> unmovable_{};
  std::array<ContentBytes, kNumTiers> by_kind_{};
  std::array<std::uint64_t, kNumTiers> peak_bytes_{};
  std::array<std::uint64_t, kNumTiers> peak_operator_{};
  std::uint64_t activation_bytes_ = 0;
  std::uint64_t largest_bytes_ = 0;
  std::uint64_t update_bytes_ = 0;
  std::uint64_t clock_ = 0;
  std::uint64_t operator_ = 0;
  Moment now_ = 0;
  Moment period_ = 0;
};

}  // namespace

Forecast forecast(const PassScript& script, const ForecastTiers& tiers, const EvictionPolicy& policy) {
  return Replay(script, tiers, policy).run();
}

}  // namespace asterias::evict

"""The follower: reads the log of events as it grows, at a replica that answers."""

from connection import NotSentError

LIMIT = 200


class Follower:
    """Reads on where it stopped, at another replica after each failure."""

    def __init__(self, replicas, ledger):
        self.replicas, self.headers, self.ledger = replicas.all, replicas.authorization, ledger
        self.is_over, self.start, self.at = False, None, 0

    async def page(self, replica, after, wait):
        """The next events; None if the replica does not answer."""
        query = f"after={after}&limit={LIMIT}&wait={wait}" if after else "limit=1"
        try:
            response = await replica.peer.send("GET", f"/v1/events?{query}", headers=self.headers)
        except (NotSentError, ConnectionError):
            return None
        if response.status == 503:
            return None
        if response.status == 410 or b"position that the log has not reached" in response.body:
            # The events up to this cursor were acknowledged, and are lost.
            self.ledger.histories[f"{replica.name} after {after}"] = None
            return {"items": []}
        if response.status != 200:
            raise RuntimeError(f"{replica.name} answers {response.status} to the follower: {response.body}")
        return response.json()

    async def begin(self):
        """Starts at the end of the log."""
        page = await self.page(self.replicas[0], None, 0)
        self.start = page["head"]

    async def run(self):
        """Follows until `is_over`, and then to the end of the log."""
        after = self.start
        while True:
            is_last = self.is_over
            page = await self.page(self.replicas[self.at % len(self.replicas)], after, 0 if is_last else 1)
            if page is None:
                self.at += 1
                continue
            for item in page["items"]:
                self.ledger.event(item)
                after = item["cursor"]
            if is_last and not page["items"]:
                return

    async def read_again(self):
        """The whole log at each replica."""
        for replica in self.replicas:
            history, after = [], self.start
            while page := await self.page(replica, after, 0):
                if not page["items"]:
                    break
                history += page["items"]
                after = page["items"][-1]["cursor"]
            self.ledger.histories[replica.name] = history

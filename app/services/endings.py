"""The end of a job that settles nothing, and of a try to post: stored in batches, under the job's lease."""

import structlog

from app.db.group_commit import CommitUnknown, GroupCommitter
from app.db.trouble import busy
from app.db.unit_of_work import Database
from app.domain.errors import Busy
from app.queue.endings import Ended, Ending, Finished, Posted
from app.queue.jobs import Job

log = structlog.get_logger(__name__)


class Endings:
    """Gives endings to the group committer until their fate is known."""

    def __init__(self, committer: GroupCommitter[Ending, Ended], database: Database) -> None:
        self._committer = committer
        self._database = database

    async def finish(self, job: Job) -> bool:
        """Take the job away in the name of its lease; False when the lease is no longer ours.

        Busy when the database is away: the lease ends, and the job is found finished or done again.
        """
        try:
            return (await self._committer.submit(Finished(job.id, job.lease_token))).ours
        except CommitUnknown as lost:
            raise busy(lost.refusal) from lost

    async def post(self, posted: Posted) -> Ended:
        """Store what came of a post, also when this worker is told to stop, and when the database was away."""
        tried = 0
        while True:
            try:
                return await self._committer.put(posted)
            except (CommitUnknown, Busy) as lost:
                # Given again it changes nothing: its job is gone, or its lease is.
                log.warning("deliver.commit_lost", delivery_id=str(posted.delivery_id), error=str(lost))
                await self._database.before_again(tried)
                tried += 1

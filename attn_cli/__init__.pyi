"""What `attn_cli` gives to programs; `__init__.py` imports it when it is asked for."""

from attn_cli.api.model import Model as Model
from attn_cli.api.model import load as load
from attn_cli.api.outputs import Attention as Attention
from attn_cli.api.outputs import LineScore as LineScore
from attn_cli.api.outputs import Output as Output
from attn_cli.api.outputs import UnitVectors as UnitVectors
from attn_cli.api.scoring import score_corpus as score_corpus
from attn_cli.api.speaking import AttnWarning as AttnWarning
from attn_cli.api.training import finetune as finetune
from attn_cli.api.training import pretrain as pretrain
from attn_cli.api.training import train_mt as train_mt
from attn_cli.config.finetuning import FinetuneCommand as FinetuneCommand
from attn_cli.config.pretraining import PretrainCommand as PretrainCommand
from attn_cli.config.translation import TrainMtCommand as TrainMtCommand
from attn_cli.errors import AttnError as AttnError
from attn_cli.errors import DataError as DataError
from attn_cli.errors import InterruptedTrainingError as InterruptedTrainingError
from attn_cli.errors import NotThereError as NotThereError
from attn_cli.errors import UsageError as UsageError
from attn_cli.metrics.base import Score as Score

__version__: str

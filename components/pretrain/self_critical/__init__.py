"""Self-critical tuning of a captioner by rewards (Rennie et al., 2017): any reward, one policy gradient.

    tuned: {uses: self_critical, with: {init: "step:captioner", rewards: [{uses: self_retrieval, with: {...}}]}}

| file | what |
|---|---|
| `policy.py` | captions drawn and greedy, what they cost, and the gradient's loss |
| `guards.py` | what no reward contains, and when the training stops for it |
| `looks.py` | what the captioner says of a few pictures as the training goes |
| `figures.py` | guards and looks, drawn |
| `settings.py`, `task.py` | the task |

Rewards are files of `components/pretrain/caption_rewards`.
"""

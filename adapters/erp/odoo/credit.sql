with {{>company.sql}}, {{#currency_rates}}{{>rate.sql}}, {{/currency_rates}}usual as (
  select (select case when d.json_value ~ '^-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?$' then d.json_value::numeric end
            from ir_default d join ir_model_fields f on f.id = d.field_id
           where f.model = 'res.partner' and f.name = 'credit_limit' and d.user_id is null
             and d.condition is null and (d.company_id is null or d.company_id = company.id)
           order by d.company_id, d.id limit 1) as credit_limit
    from company
), open_item as (
  select l.partner_id, sum(l.amount_residual) as amount
    from account_move_line l
    join account_account a on a.id = l.account_id and a.account_type = 'asset_receivable'
    join res_company c on c.id = l.company_id
    join company on company.root = split_part(c.parent_path, '/', 1)
   where l.partner_id = any($1) and l.parent_state = 'posted' and l.reconciled is not true
   group by 1
), counted as (
  {{#invoice_partner}}
  select b.commercial_partner_id as partner_id, s.id, s.currency_id, s.currency_rate
    from res_partner b join sale_order s on s.partner_invoice_id = b.id
    join company on company.id = s.company_id and company.limits
   where b.commercial_partner_id = any($1) and s.state = 'sale'
     and exists (select from sale_order_line z where z.order_id = s.id and z.untaxed_amount_to_invoice > 0)
  {{/invoice_partner}}
  {{^invoice_partner}}
  select s.partner_id, s.id, s.currency_id, s.currency_rate
    from sale_order s join company on company.id = s.company_id and company.limits
   where s.partner_id = any($1) and s.state = 'sale'
     and exists (select from sale_order_line z where z.order_id = s.id and z.untaxed_amount_to_invoice > 0)
  {{/invoice_partner}}
), unbilled as (
  -- each line is rounded to its currency, as a monetary field is
  select counted.partner_id, counted.currency_id, sum(
           round(x.price_total / x.product_uom_qty
             {{#discount_twice}}* (1 - coalesce(x.discount, 0) / 100){{/discount_twice}}
             * (case when t.invoice_policy = 'delivery' then coalesce(x.qty_delivered, 0) else x.product_uom_qty end
                - coalesce((
                    -- in the order's unit, rounded up; only what is given back counts the other way round
                    select sum(case when m.move_type in ('out_invoice', 'out_receipt', 'in_refund') then 1 else -1 end
                               * coalesce(sign(l.quantity) * wanted.rounding * ceil(round(
                                   abs(l.quantity) * case when billed.id = wanted.id then 1 else wanted.factor / billed.factor end
                                   / wanted.rounding, 6)), l.quantity))
                      from sale_order_line_invoice_rel r
                      join account_move_line l on l.id = r.invoice_line_id
                      join account_move m on m.id = l.move_id
                      left join uom_uom billed on billed.id = l.product_uom_id
                      left join uom_uom wanted on wanted.id = x.product_uom
                     where r.order_line_id = x.id and (m.state = 'posted' or m.payment_state = 'invoicing_legacy')), 0))
             / u.rounding) * u.rounding
           {{^currency_rates}}/ case when counted.currency_id = company.currency_id then 1
                                 else coalesce(nullif(counted.currency_rate, 0), 1) end{{/currency_rates}}
         ) as amount
    from counted
    cross join company
    join sale_order_line x on x.order_id = counted.id and x.product_uom_qty <> 0
    join res_currency u on u.id = coalesce(x.currency_id, counted.currency_id, company.currency_id)
    left join product_product p on p.id = x.product_id
    left join product_template t on t.id = p.product_tmpl_id
   group by 1, 2
), ordered as (
  -- in the company's money: each currency is rounded for itself
  select unbilled.partner_id, sum(round(unbilled.amount
           {{#currency_rates}}* case when unbilled.currency_id = company.currency_id then 1 else ours.rate / theirs.rate end
           {{/currency_rates}}/ company.rounding) * company.rounding) as amount
    from unbilled
    cross join company
    {{#currency_rates}}
    left join rate ours on ours.id = company.currency_id
    left join rate theirs on theirs.id = unbilled.currency_id
    {{/currency_rates}}
   group by 1
), standing as (
  select p.id, case when {{customer}} = 'id' then p.id::text else p.ref end as customer,
         company.currency,
         -- no limit, or one of zero, is none
         case when company.limits then nullif(
           case when p.credit_limit ? company.key
             then coalesce(nullif(p.credit_limit ->> company.key, 'false')::numeric, 0)
             else coalesce(usual.credit_limit, 0) end, 0) end as credit_limit,
         coalesce(open_item.amount, 0) as receivable, coalesce(ordered.amount, 0) as to_invoice
    from res_partner p
    cross join company cross join usual
    left join open_item on open_item.partner_id = p.id
    left join ordered on ordered.partner_id = p.id
   where p.id = any($1) and p.active and p.commercial_partner_id = p.id
     and case when {{customer}} = 'id' then p.id::text else p.ref end <> ''
)
select id as key, customer, currency, credit_limit as "limit",
       receivable, to_invoice, receivable + to_invoice as balance,
       credit_limit - receivable - to_invoice as available,
       coalesce(credit_limit < receivable + to_invoice, false) as hold
  from standing
